// Small things that ranks tell each other.
#pragma once

#include <string>
#include <vector>

#include "sae/distributed/group.h"

namespace sae {

/// Whether it is so on any rank.
bool on_any(const Group& group, bool here);

/// What rank 0 says; what others give does not matter.
std::string told(const Group& group, const std::string& text);
bool told(const Group& group, bool value);

/// What each rank says, in their order.
std::vector<std::string> told_by_all(const Group& group, const std::string& text);

/// check_interrupt, for all ranks as soon as one of them is interrupted.
void check_interrupt(const Group& group);

}  // namespace sae
