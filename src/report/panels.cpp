// Which members a chart shows together.
#include <algorithm>
#include <iterator>

#include "report/axes.h"
#include "report/groups.h"

namespace sae::report {
namespace {

constexpr std::size_t kTogether = 8;  // lines that one chart can tell apart
constexpr int kPlainColours = 5;
constexpr int kMaskColours = 4;  // of the nine in the style sheet
constexpr int kBaseColour = 1;   // grey
// Of neighbours on an axis, apart from each other and from grey.
constexpr int kAlongAxis[] = {0, 5, 2, 6, 3, 7, 4};

Panel all_members(const ComparisonResult& result) {
  Panel panel;
  int masked = 0, plain = 0;
  for (std::size_t i = 0; i < result.members.size(); ++i) {
    const Member& member = result.members[i];
    const int colour =
        member.masked ? kPlainColours + masked++ % kMaskColours : plain++ % kPlainColours;
    panel.members.push_back(i);
    panel.labels.push_back(member.label);
    panel.looks.push_back({colour, static_cast<int>(i % 8), member.masked});
  }
  return panel;
}

/// The member's values on its axes, but for one of them; its name if that leaves none.
std::string values_but(const Member& member, const std::string& axis) {
  std::string text;
  for (const AxisValue& one : member.axes) {
    if (one.axis != axis) text += (text.empty() ? "" : ", ") + value_text(one.value);
  }
  return !text.empty() ? text : member.axes.empty() ? member.label : member.family;
}

/// "atm by rate", "atm at threshold 0 by rate".
std::string title_of(const Member& first, const std::string& fixed_axis) {
  std::string at, by;
  for (const AxisValue& one : first.axes) {
    if (one.axis == fixed_axis) {
      at = " at " + short_axis(one.axis) + " " + value_text(one.value);
    } else {
      by += (by.empty() ? " by " : " and ") + short_axis(one.axis);
    }
  }
  return first.family + at + by;
}

/// `members` of one family, and what each is a mask on.
Panel family_panel(const ComparisonResult& result, const std::vector<std::size_t>& members,
                   const std::string& fixed_axis) {
  Panel panel;
  panel.title = title_of(result.members[members.front()], fixed_axis);
  for (const std::size_t i : members) {
    const std::size_t place = panel.members.size();
    panel.members.push_back(i);
    panel.labels.push_back(values_but(result.members[i], fixed_axis));
    panel.looks.push_back({kAlongAxis[place % std::size(kAlongAxis)], static_cast<int>(place % 8),
                           result.members[i].masked});
  }
  for (const std::size_t i : members) {
    for (std::size_t k = 0; k < result.members.size(); ++k) {
      const Member& base = result.members[k];
      const bool shown =
          std::find(panel.members.begin(), panel.members.end(), k) != panel.members.end();
      if (shown || base.label != result.members[i].base) continue;
      panel.members.push_back(k);
      panel.labels.push_back(base.axes.empty() ? base.label : base.family);
      panel.looks.push_back({kBaseColour, static_cast<int>(panel.members.size() % 8), false});
    }
  }
  return panel;
}

/// The members of a family, parted by the first axis where they are many and have another.
void add_family(const ComparisonResult& result, const std::string& family,
                std::vector<Panel>& panels) {
  std::vector<std::size_t> members;
  for (std::size_t i = 0; i < result.members.size(); ++i) {
    const Member& member = result.members[i];
    if (member.family == family && !member.axes.empty()) members.push_back(i);
  }
  const std::vector<AxisValue>& axes = result.members[members.front()].axes;
  if (members.size() <= kTogether || axes.size() < 2) {
    panels.push_back(family_panel(result, members, ""));
    return;
  }
  while (!members.empty()) {
    const AxisValue at = result.members[members.front()].axes.front();
    std::vector<std::size_t> here, rest;
    for (const std::size_t i : members) {
      (result.members[i].axes.front() == at ? here : rest).push_back(i);
    }
    panels.push_back(family_panel(result, here, at.axis));
    members = rest;
  }
}

}  // namespace

std::vector<Panel> panels_of(const ComparisonResult& result) {
  std::vector<std::string> families;
  for (const Member& member : result.members) {
    const bool known = std::find(families.begin(), families.end(), member.family) != families.end();
    if (!member.axes.empty() && !known) families.push_back(member.family);
  }
  if (families.empty() || result.members.size() <= kTogether) return {all_members(result)};
  std::vector<Panel> panels;
  for (const std::string& family : families) add_family(result, family, panels);
  Panel others = all_members(result), left;
  for (std::size_t i = 0; i < others.members.size(); ++i) {
    const bool shown = std::any_of(panels.begin(), panels.end(), [&](const Panel& panel) {
      return std::find(panel.members.begin(), panel.members.end(), i) != panel.members.end();
    });
    if (shown) continue;
    left.members.push_back(i);
    left.labels.push_back(others.labels[i]);
    left.looks.push_back(others.looks[i]);
  }
  left.title = "Without axes";
  if (!left.members.empty()) panels.push_back(std::move(left));
  return panels;
}

}  // namespace sae::report
