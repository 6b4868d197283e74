// HarvestProcess: a command that makes activations, and the folder in which it passes them on.
#pragma once

#include <ATen/core/Tensor.h>
#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>

#include "sae/data/stream.h"

namespace sae {

/// Lives as long as this. Used from one thread at a time.
class HarvestProcess {
 public:
  /// Starts it, at a token. Another thread may set `stopping`.
  HarvestProcess(const StreamDataOptions& options, std::int64_t start,
                 const std::atomic<bool>& stopping);
  ~HarvestProcess();
  HarvestProcess(const HarvestProcess&) = delete;
  HarvestProcess& operator=(const HarvestProcess&) = delete;

  /// The next shard's activations [T, D], as they are stored. DataError if there is none to come:
  /// the command has ended or stalls, or what it wrote is no shard. Undefined when it is to stop.
  at::Tensor next();

 private:
  bool wait_for(const std::filesystem::path& shard);
  bool has_ended();
  [[noreturn]] void fail(const std::string& what) const;

  StreamDataOptions options_;
  const std::atomic<bool>& stopping_;
  std::filesystem::path folder_;
  bool made_folder_ = false;
  pid_t process_ = -1;
  int status_ = 0;
  std::int64_t shards_ = 0;  // that have been read
  std::int64_t tokens_ = 0;  // in them
};

}  // namespace sae
