#include "sae/config/findings.h"

#include <algorithm>

#include "sae/base/error.h"
#include "sae/base/text.h"

namespace sae {

namespace {

/// The object at or below `at` that holds, or would hold, the option at the dotted path `key`.
/// Leaves in `key` what is below that object.
ConfigNode holder_of(ConfigNode at, std::string_view& key) {
  for (std::size_t dot = key.find('.'); dot != std::string_view::npos; dot = key.find('.')) {
    if (!at.has(key.substr(0, dot))) break;
    at = at.at(key.substr(0, dot));
    key.remove_prefix(dot + 1);
  }
  return at;
}

}  // namespace

std::string Findings::place(std::string_view key) const {
  if (key.empty()) return at_.place();
  const ConfigNode holder = holder_of(at_, key);
  return holder.place(key);
}

bool Findings::is_written(std::string_view key) const {
  const ConfigNode holder = holder_of(at_, key);
  return holder.has(key);
}

void Findings::error(std::string_view key, const std::string& what) {
  errors_.push_back(place(key) + ": " + what);
}

void Findings::warn(std::string_view key, const std::string& what,
                    std::initializer_list<std::string_view> with) {
  const auto written = [this](std::string_view option) { return is_written(option); };
  if (!key.empty() && !written(key) && std::none_of(with.begin(), with.end(), written)) return;
  warnings_.push_back(place(key) + ": " + what);
}

void Findings::at_most(std::string_view key, double got, double most, std::string_view most_is) {
  error(key, "got " + trimmed(got, 6) + ", expected at most " + trimmed(most, 6) + ", which is " +
                 std::string(most_is));
}

void Findings::unused(std::string_view key, const std::string& where) {
  warn(key, "is not used " + where);
}

void Findings::add(const Findings& more) {
  errors_.insert(errors_.end(), more.errors_.begin(), more.errors_.end());
  warnings_.insert(warnings_.end(), more.warnings_.begin(), more.warnings_.end());
}

std::vector<Notice> Findings::notices() const {
  std::vector<Notice> notices;
  for (const std::string& text : warnings_) notices.push_back({Notice::Kind::kWarning, text});
  return notices;
}

void Findings::require() const {
  if (!errors_.empty()) throw ConfigError(errors_.front());
}

}  // namespace sae
