#include "sae/base/threads.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdlib>

#include "sae/base/machine.h"

namespace sae {

int threads_for(std::int64_t asked) {
  const std::int64_t cores = usable_cores();
  if (asked <= 0) {
    const char* given = std::getenv("OMP_NUM_THREADS");  // "4", or a list with a number a level
    asked = given != nullptr ? std::atoll(given) : 0;
  }
  return static_cast<int>(asked > 0 ? std::min(asked, cores) : cores);
}

void use_threads(std::int64_t asked) { at::set_num_threads(threads_for(asked)); }

}  // namespace sae
