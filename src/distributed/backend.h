// What sends between ranks: Gloo between hosts, NCCL between GPUs. Apart, since only the two files
// behind it read their headers.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "sae/distributed/membership.h"

namespace sae {

/// A connection of all `size` ranks through Gloo; collective.
c10::intrusive_ptr<c10d::Backend> connect_gloo(const c10::intrusive_ptr<c10d::Store>& store,
                                               int rank, int size, const Membership& member);

/// Whether this build can send from GPU to GPU; if not, tensors of GPUs travel by their hosts.
bool has_nccl();

/// The same through NCCL, for tensors of GPUs; connects at its first call.
c10::intrusive_ptr<c10d::Backend> connect_nccl(const c10::intrusive_ptr<c10d::Store>& store,
                                               int rank, int size, const Membership& member);

}  // namespace sae
