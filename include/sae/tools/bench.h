// `sae bench`: how long a training step takes, in units of its one unavoidable product.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sae/cuda/device_kernels.h"
#include "sae/models/atm_mask.h"
#include "sae/sparse/encoder.h"
#include "sae/training/trainer.h"

namespace sae {

/// One training step to measure.
struct BenchCase {
  std::string architecture;
  std::int64_t d_in = 0;              ///< D
  std::int64_t d_sae = 0;             ///< F
  double l0 = 0;                      ///< K; also for architectures without a k, see below
  std::int64_t batch = 0;             ///< B
  std::optional<MaskDraw> mask = {};  ///< of a mask on it, after its warm-up; none: its own default
};

struct BenchOptions {
  std::int64_t steps = 10;  ///< timed, after warm-up
  std::string data;  ///< store that every step takes its batch from; empty: a world in memory
  Storage storage = Storage::kAuto;
  Screening screening = Screening::kAuto;
  std::string device = "auto";
  int threads = 0;  ///< < 1: all cores
  Precision precision = Precision::kFp32;
  DeviceKernels kernels = DeviceKernels::kAuto;
};

struct BenchResult {
  BenchCase of;
  double step_s = 0;  ///< median; on a GPU of rounds of `steps` steps, each waited for as a whole
  double fastest_step_s = 0;
  double gemm_s = 0;           ///< x W_enc^T in `precision`, best of several in the same process
  double l0 = 0;               ///< latents kept per token, measured in the timed steps
  double floor_s = 0;          ///< see below
  double peak_rss_mib = 0;     ///< of the process while it trains, the library included; 0: unknown
  double peak_device_mib = 0;  ///< of a GPU's memory; 0: a CPU, or unknown
  /// Seconds a step, "other" is the rest. On a GPU of steps of their own that wait at each stage's
  /// begin and end, so that they add up to more than a step.
  std::vector<std::pair<std::string, double>> stages;
  std::string device;
  Precision precision = Precision::kFp32;
  std::string without_kernels;  ///< why a GPU has none of ours; "": it has, or is none
  int threads = 0;
  bool screened = false;  ///< whether the encoder may be screened here

  double gemms_per_step() const { return step_s / gemm_s; }
  double tokens_per_s() const { return static_cast<double>(of.batch) / step_s; }
};

/// Measures the whole step of a Trainer with the options that `sae train` has by default: loss,
/// backward pass, clipping, Adam, unit norms, statistics, logging every 100th step. Data are
/// samples of a Zipf world, where some latents fire on every third token and most on few.
///
/// Architectures without a k are measured in a state with that L0: one threshold for all latents
/// (the bias of standard and atm, JumpReLU's theta) is put where it keeps K of F on average. Masks
/// are measured after their warm-up, nested ones as configs/ has them.
///
/// The floor is what the machine cannot do without: the encoder's product (bfloat16 if screened),
/// seven streams of the parameters for Adam and, for each kept entry, four rows of D floats, both
/// at the speed at which memory is copied. It is measured in the same process.
BenchResult bench(const BenchCase& one, const BenchOptions& options);

/// Refuses what `bench` would refuse of any of the cases, for those who measure many: ConfigError
/// for a shape that makes no sense, DataError unless the store is there and has their width.
void require_measurable(const std::vector<BenchCase>& cases, const BenchOptions& options);

nlohmann::ordered_json to_json(const BenchResult& result);
std::string to_text(const BenchResult& result);  ///< three lines of at most 80 columns

/// Measures the cases of a file again (configs/bench/check.json) by their fastest steps, up to
/// three times each, because a shared machine may be busy. Cases that need native bfloat16 are left
/// out where there is none. `report` hears a line about each; false if one costs more than the
/// file's tolerance times its record.
bool check_bench(const std::string& path, const BenchOptions& options,
                 const std::function<void(const std::string&)>& report);

}  // namespace sae
