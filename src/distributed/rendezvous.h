// Where ranks meet, and where they leave word of how they ended.
#pragma once

#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "sae/distributed/group.h"

namespace sae {

/// The store that all ranks see. Every rank writes under its own number: `here` when it has come,
/// `noticed` when it sees that another is gone, `left` when it needs the store no more.
class Rendezvous {
 public:
  /// Returns when all ranks have come; DistributedError that says which have not.
  explicit Rendezvous(const Membership& member);

  const Membership& member() const { return member_; }
  const c10::intrusive_ptr<c10d::Store>& store() const { return store_; }

  /// What rank `rank` has under `name`, once it has: both of this generation alone.
  void tell(const std::string& name, const std::string& text);
  std::string told(const std::string& name, int rank);

  /// For a rank that fails by itself: the others will say what it says. The first one counts.
  void tell_failure(const std::string& message) noexcept;

  /// For a rank whose call failed with `what`: who is to blame, as far as that can be known.
  std::string blame(const std::string& what) noexcept;

  /// The rank that serves the store stays until the others have read what they need, `patience` at
  /// most.
  void leave(std::chrono::milliseconds patience) noexcept;

 private:
  std::string key(const std::string& name, int rank) const;
  bool has(const std::string& name, int rank);
  void wait_for_all();
  std::string find_culprit(const std::string& what);
  bool serves() const { return member_.rank == 0 && !member_.agent_serves; }

  Membership member_;
  c10::intrusive_ptr<c10d::Store> store_;
};

/// The first line of what c10d says: a trace follows it.
std::string first_line(const std::exception& error);

}  // namespace sae
