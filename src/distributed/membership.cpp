#include "sae/distributed/membership.h"

#include <charconv>
#include <optional>

#include "sae/base/error.h"

namespace sae {
namespace {

class Reader {
 public:
  explicit Reader(const Environment& environment) : environment_(environment) {}

  std::optional<std::string> text(const std::string& name) const {
    const char* value = environment_(name.c_str());
    if (value == nullptr || *value == '\0') return std::nullopt;
    return value;
  }

  /// In [least, most], whatever was meant by the bounds; `fallback` where it is not set.
  int number(const std::string& name, int least, int most, std::optional<int> fallback = {}) const {
    const auto found = text(name);
    if (!found) {
      if (fallback) return *fallback;
      throw ConfigError(name + ": not set, expected " + range(least, most));
    }
    int value = 0;
    const char* end = found->data() + found->size();
    const auto read = std::from_chars(found->data(), end, value);
    if (read.ec != std::errc() || read.ptr != end || value < least || value > most) {
      throw ConfigError(name + ": got '" + *found + "', expected " + range(least, most));
    }
    return value;
  }

 private:
  static std::string range(int least, int most) {
    return "a number from " + std::to_string(least) + " to " + std::to_string(most);
  }

  const Environment& environment_;
};

constexpr int kMostRanks = 1 << 20;

/// What a launcher calls the four numbers.
struct Names {
  const char* rank;
  const char* size;
  const char* local_rank;
  const char* local_size;
};

constexpr Names kTorch{"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"};
constexpr Names kOthers[] = {
    {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"}};

Membership numbers(const Reader& reader, const Names& names) {
  Membership member;
  member.size = reader.number(names.size, 1, kMostRanks);
  member.rank = reader.number(names.rank, 0, member.size - 1);
  member.local_rank = reader.number(names.local_rank, 0, member.size - 1, member.rank);
  member.local_size =
      reader.number(names.local_size, member.local_rank + 1, member.size, member.size);
  return member;
}

void read_place(const Reader& reader, Membership& member) {
  member.port =
      static_cast<std::uint16_t>(reader.number("MASTER_PORT", 1, 65535, int{member.port}));
  if (const auto address = reader.text("MASTER_ADDR")) {
    member.address = *address;
    return;
  }
  if (member.size == member.local_size) return;  // all on this machine
  const std::string host = first_host(reader.text("SLURM_JOB_NODELIST").value_or(""));
  if (host.empty()) {
    throw ConfigError("MASTER_ADDR: not set, expected the host of rank 0: " +
                      std::to_string(member.size) + " ranks are on several machines");
  }
  member.address = host;
}

}  // namespace

std::string first_host(const std::string& slurm_nodes) {
  const std::size_t end = slurm_nodes.find_first_of(",[");
  if (end == std::string::npos) return slurm_nodes;
  std::string host = slurm_nodes.substr(0, end);
  if (slurm_nodes[end] == ',') return host;
  const std::size_t close = slurm_nodes.find(']', end);
  if (close == std::string::npos) return "";
  const std::size_t digits = slurm_nodes.find_first_not_of("0123456789", end + 1);
  host += slurm_nodes.substr(end + 1, digits - end - 1);
  const std::size_t next = slurm_nodes.find(',', close);
  const std::string suffix = slurm_nodes.substr(close + 1, next - close - 1);  // "rack[1-2]n"
  return suffix.find('[') == std::string::npos ? host + suffix : "";
}

Membership membership_in(bool asked, const Environment& environment) {
  const Reader reader(environment);
  if (reader.text(kTorch.rank) || reader.text(kTorch.size)) {
    Membership member = numbers(reader, kTorch);
    read_place(reader, member);
    const auto agent = reader.text("TORCHELASTIC_USE_AGENT_STORE");
    member.agent_serves = agent && (*agent == "True" || *agent == "1" || *agent == "true");
    member.generation = reader.text("TORCHELASTIC_RESTART_COUNT").value_or("");
    return member;
  }
  if (!asked) return {};
  for (const Names& names : kOthers) {
    if (!reader.text(names.rank)) continue;
    // Slurm says "4(x2)" of tasks on nodes that differ: the number of this node is not known.
    Membership member;
    member.size = reader.number(names.size, 1, kMostRanks);
    member.rank = reader.number(names.rank, 0, member.size - 1);
    member.local_rank = reader.number(names.local_rank, 0, member.size - 1, 0);
    try {
      member.local_size = reader.number(names.local_size, 1, member.size, member.size);
    } catch (const ConfigError&) {
      member.local_size = member.local_rank + 1;
    }
    read_place(reader, member);
    return member;
  }
  throw ConfigError(
      "--distributed: nothing in the environment says which rank this is; expected RANK and "
      "WORLD_SIZE, or those of srun or mpirun; scripts/launch N command starts N ranks here");
}

}  // namespace sae
