// Whether what a run will have written by its end finds room on the disk.
#pragma once

#include <filesystem>

#include "sae/data/data.h"
#include "sae/training/run.h"

namespace sae {

/// About what a run's checkpoints and result will take, less what the checkpoints in `folder` take
/// already.
double bytes_to_write(const RunOptions& options, const Data& data,
                      const std::filesystem::path& folder);

/// ConfigError unless the file system of `folder`, which exists, has that many bytes free.
void require_room(const std::filesystem::path& folder, double bytes);

}  // namespace sae
