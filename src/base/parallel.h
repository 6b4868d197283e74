// Jobs side by side.
#pragma once

#include <cstddef>
#include <functional>

#include "sae/base/threads.h"

namespace sae {

/// One intra-op thread for the scope it lives in: sums in another order are other numbers.
class OneThread {
 public:
  OneThread();
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

/// Runs `job(i)` for i in [0, count) on `threads` threads, each with one intra-op thread, so that
/// what a job computes does not depend on how many run beside it. The first exception is rethrown.
void run_jobs(std::size_t count, std::size_t threads, const std::function<void(std::size_t)>& job);

}  // namespace sae
