// Group: the processes that compute together, and what they can say to each other.
//
//     together(membership_in(asked), [&](const Group& group) {
//       at::Tensor total = at::ones({3});
//       group.sum(total);                       // on every rank: group.size()
//     });
//
// On LibTorch's c10d: ranks meet at a TCPStore and send through Gloo. Every rank makes the same
// calls in the same order, with tensors of the same shape and type; a group of one makes none.
// Results are the same bytes on all ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sae/distributed/membership.h"

namespace sae {

/// What a rank has sent, and for how long it waited.
struct Traffic {
  std::int64_t calls = 0;
  std::int64_t bytes = 0;  ///< that this rank sent, by the ring algorithms' count
  double seconds = 0;
};

/// A name and what a rank has under it: "train.batch", "4096".
using Facts = std::vector<std::pair<std::string, std::string>>;

class Group {
 public:
  /// Of this process alone.
  Group() = default;

  int rank() const;
  int size() const;
  bool is_one() const { return size() == 1; }

  // All throw DistributedError when a rank is lost or fails, and at every call after that: the
  // message names the rank, and what it said. Tensors that are no CPU tensors travel by the host.

  /// In place, over all ranks.
  void sum(at::Tensor& x) const;
  void max(at::Tensor& x) const;
  void min(at::Tensor& x) const;

  /// [...] of each rank -> [R, ...]
  at::Tensor gather(const at::Tensor& x) const;

  /// [R, ...] of each rank, summed -> [...], the part of this rank.
  at::Tensor sum_of_parts(const at::Tensor& x) const;

  /// In place, what rank `from` has.
  void broadcast(at::Tensor& x, int from = 0) const;

  /// Returns when all ranks have come here.
  void meet() const;

  /// ConfigError that names the first difference if another rank has other facts; ranks are those
  /// of this group.
  void agree(const Facts& facts) const;

  /// The ranks with the same `part`, in the order of their ranks here.
  Group split(int part) const;

  Traffic traffic() const;

 private:
  friend void together(const Membership& member, const std::function<void(const Group&)>& work);
  explicit Group(std::shared_ptr<class GroupState> state);

  std::shared_ptr<class GroupState> state_;  // none: of one
};

/// Meets the other ranks, does `work`, and leaves when all have done theirs. What `work` throws is
/// told to the others, whose next call ends with it, and is thrown on.
///
/// ConfigError for a port that is taken or a host that is not known; DistributedError if ranks do
/// not come within the member's timeout, naming them, or run another version of this program.
void together(const Membership& member, const std::function<void(const Group&)>& work);

/// Where latents and batches are split: R ranks in R / L rows of L neighbours.
struct Mesh {
  Group world;
  Group data;     ///< ranks with the same latents, each with its part of the batch
  Group latents;  ///< ranks with the same tokens, each with its part of the latents
};

/// `latents` x `data` ranks; 0 latents: all that `data` leaves. ConfigError if they are not all.
Mesh mesh_of(const Group& world, std::int64_t latents, std::int64_t data);

}  // namespace sae
