// Where ranks meet, and where they leave word of how they ended.
#pragma once

#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "sae/distributed/group.h"

namespace sae {

/// The store that all ranks see, and the connections that were made by it. Every rank writes under
/// its own number: `here` when it has come, `noticed` when it sees that another is gone, `left`
/// when it needs the store no more.
class Rendezvous : public std::enable_shared_from_this<Rendezvous> {
 public:
  /// Returns when all ranks have come; DistributedError that says which have not.
  explicit Rendezvous(const Membership& member);

  const c10::intrusive_ptr<c10d::Store>& store() const { return store_; }

  /// A connection of `size` ranks, which meet at `part` of the store; collective. It lasts until
  /// something fails.
  c10d::Backend& connect(const c10::intrusive_ptr<c10d::Store>& part, int rank, int size);
  /// The same between their GPUs.
  c10d::Backend& connect_gpus(const c10::intrusive_ptr<c10d::Store>& part, int rank, int size);

  /// For a rank that fails by itself: the others will say what it says. The first one counts. Hangs
  /// up.
  void tell_failure(const std::string& message) noexcept;

  /// For a rank whose call failed with `what`: hangs up, so that ranks which wait for this one
  /// notice too, and finds out who is to blame, as far as that can be known. From then on that is
  /// broken().
  void blame(const std::string& what) noexcept;
  const std::string& broken() const { return broken_; }  ///< "": nothing is

  /// The rank that serves the store stays until the others have read what they need, `patience` at
  /// most.
  void leave(std::chrono::milliseconds patience) noexcept;

 private:
  void tell(const std::string& name);
  bool has(const std::string& name, int rank);
  void wait_for_all();
  std::string find_culprit(const std::string& what);
  bool serves() const { return member_.rank == 0 && !member_.agent_serves; }

  Membership member_;
  c10::intrusive_ptr<c10d::Store> store_;
  std::vector<c10::intrusive_ptr<c10d::Backend>> connections_;
  std::string broken_;
};

/// The first line of what c10d says: a trace follows it.
std::string first_line(const std::exception& error);

}  // namespace sae
