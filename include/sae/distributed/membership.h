// Which of how many processes this one is, as whoever started it says in the environment.
//
//     always, where RANK is set (torchrun, scripts/launch):
//         RANK WORLD_SIZE MASTER_ADDR MASTER_PORT, LOCAL_RANK LOCAL_WORLD_SIZE
//     if asked (srun):
//         SLURM_PROCID SLURM_NTASKS SLURM_LOCALID SLURM_JOB_NODELIST
//     if asked (mpirun):
//         OMPI_COMM_WORLD_RANK _SIZE _LOCAL_RANK _LOCAL_SIZE, PMI_RANK PMI_SIZE
//
// Only if asked, since a batch script has these too and would wait for ranks that never come.
// Nothing here needs LibTorch.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string>

namespace sae {

struct Membership {
  int rank = 0;
  int size = 1;
  int local_rank = 0;  ///< of the ranks on this machine
  int local_size = 1;
  std::string address = "127.0.0.1";  ///< where rank 0 is
  std::uint16_t port = 29500;
  bool agent_serves = false;  ///< torchrun's agent serves the store that ranks meet at
  std::string generation;     ///< differs between restarts that meet at the same store
  std::chrono::milliseconds timeout = std::chrono::minutes(5);  ///< for ranks that do not answer
};

/// As std::getenv; tests put one in its place.
using Environment = std::function<const char*(const char*)>;

/// One process where nothing is said. ConfigError, with the variable's name, for what is incomplete
/// or makes no sense; if `asked`, for an environment that says nothing at all too.
Membership membership_in(bool asked, const Environment& environment = std::getenv);

/// The first host of Slurm's list: "gpu[01-04,07],x" -> "gpu01"; empty where it cannot be told.
std::string first_host(const std::string& slurm_nodes);

}  // namespace sae
