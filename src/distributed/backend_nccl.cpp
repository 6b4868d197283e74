// Compiled in two ways: with NCCL's and CUDA's headers (CMake's SAE_NCCL), or without.
#include "distributed/backend.h"

#ifdef SAE_HAS_NCCL

#include <cstdlib>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

namespace sae {
namespace {

/// Sums whose order does not change from call to call, unless the user has chosen otherwise.
void fix_order_of_sums() {
  constexpr int kKeep = 0;
  ::setenv("NCCL_NVLS_ENABLE", "0", kKeep);
  ::setenv("NCCL_ALGO", "Ring", kKeep);
  ::setenv("NCCL_PROTO", "Simple", kKeep);
}

}  // namespace

bool has_nccl() { return true; }

c10::intrusive_ptr<c10d::Backend> connect_nccl(const c10::intrusive_ptr<c10d::Store>& store,
                                               int rank, int size, const Membership& member) {
  fix_order_of_sums();
  const auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = member.timeout;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, options);
}

}  // namespace sae

#else

#include <stdexcept>

namespace sae {

bool has_nccl() { return false; }

c10::intrusive_ptr<c10d::Backend> connect_nccl(const c10::intrusive_ptr<c10d::Store>& /*store*/,
                                               int /*rank*/, int /*size*/,
                                               const Membership& /*member*/) {
  throw std::logic_error("connect_nccl: this build has no NCCL");
}

}  // namespace sae

#endif
