// LibTorch's packages ship torch/csrc/distributed/c10d/ProcessGroupGloo.hpp without the headers of
// Gloo that it includes; the library itself is inside libtorch_cpu.so. These five declare what that
// header names, by pointer alone, and the one class that it derives from. On the include path of
// distributed/backend_gloo.cpp only, and only where Gloo's own headers are not found.
#pragma once

#include <chrono>

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);  // named by an inline function, never called
};

}  // namespace gloo
