#include "training/disk_room.h"

#include <algorithm>
#include <string>
#include <system_error>

#include "sae/base/error.h"
#include "sae/base/text.h"
#include "training/run_memory.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

double bytes_in(const fs::path& folder) {
  double bytes = 0;
  std::error_code none;
  for (const auto& entry : fs::recursive_directory_iterator(folder, none)) {
    if (entry.is_regular_file(none)) bytes += static_cast<double>(entry.file_size(none));
  }
  return bytes;
}

/// How many checkpoints there may be at once: one more than are kept, while it is being written.
std::int64_t checkpoints_at_once(const RunOptions& options) {
  const CheckpointOptions& checkpoint = options.train.checkpoint;
  if (checkpoint.checkpoint_minutes > 0) return checkpoint.keep_checkpoints + 1;
  const std::int64_t steps = options.train.train.total_steps();
  const std::int64_t first = options.train.start.from.empty() ? 0 : 1;  // of step 0
  const std::int64_t written =
      first + (checkpoint.checkpoint_every > 0 ? steps / checkpoint.checkpoint_every : 0);
  return std::min(checkpoint.keep_checkpoints + 1, written);
}

std::string gigabytes(double bytes) { return trimmed(bytes / 1e9, 3) + " GB"; }

}  // namespace

double bytes_to_write(const RunOptions& options, const Data& data, const fs::path& folder) {
  const RunFiles files = size_of_files(options, data);
  const double all =
      files.sae + files.checkpoint * static_cast<double>(checkpoints_at_once(options));
  return std::max(0.0, all - bytes_in(folder / "checkpoints"));
}

void require_room(const fs::path& folder, double bytes) {
  std::error_code unknown;
  const fs::space_info space = fs::space(folder, unknown);
  if (unknown || space.capacity == 0) return;  // some file systems do not say
  const auto available = static_cast<double>(space.available);
  if (available >= bytes) return;
  throw ConfigError(folder.string() + ": " + gigabytes(available) + " are free, expected " +
                    gigabytes(bytes) +
                    " for checkpoints and result; make room, lower train.keep_checkpoints, or "
                    "choose another --out");
}

}  // namespace sae
