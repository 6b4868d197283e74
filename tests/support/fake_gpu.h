// Tests on a GPU, or on the fake one, which ctest preloads for them (tests/fake_gpu).
#pragma once

#include <ATen/Context.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "fake_gpu/counts.h"

namespace sae {

/// Skipped where there is no GPU; fails where there should be a fake one.
class OnGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (at::hasCUDA()) return;
    if (std::getenv("SAE_FAKE_GPU")) FAIL() << "libfake_gpu.so is not preloaded";
    GTEST_SKIP() << "no GPU";
  }
};

/// Skipped where there is no fake GPU; fails where there should be one.
class OnFakeGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    counts_ = find<decltype(counts_)>("fake_gpu_counts");
    reset_ = find<decltype(reset_)>("fake_gpu_reset");
    if (counts_ && reset_ && at::hasCUDA()) return;
    if (std::getenv("SAE_FAKE_GPU")) FAIL() << "libfake_gpu.so is not preloaded";
    GTEST_SKIP() << "no fake GPU";
  }

  fake_gpu::Counts counted() const {
    fake_gpu::Counts all;
    counts_(&all);
    return all;
  }
  void reset_counts() const { reset_(); }

 private:
  template <class Function>
  static Function find(const char* name) {
    return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
  }

  void (*counts_)(fake_gpu::Counts*) = nullptr;
  void (*reset_)() = nullptr;
};

}  // namespace sae
