// What sends between ranks. Apart, since only the file behind it reads Gloo's headers.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "sae/distributed/membership.h"

namespace sae {

/// A connection of all `size` ranks through Gloo; collective.
c10::intrusive_ptr<c10d::Backend> connect_gloo(const c10::intrusive_ptr<c10d::Store>& store,
                                               int rank, int size, const Membership& member);

}  // namespace sae
