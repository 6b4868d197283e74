#include "models/interchange/python_json.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

#include "sae/base/error.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDeepest = 1000;  // about where Python gives up
constexpr std::string_view kBeyondJson[] = {"NaN", "Infinity", "-Infinity"};

/// The code unit of "\ud83d" at the beginning of `text`, or -1.
long escaped_unit(std::string_view text) {
  constexpr std::size_t kLength = 6;
  if (text.size() < kLength || text.substr(0, 2) != "\\u") return -1;
  const std::string digits(text.substr(2, 4));
  if (digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) return -1;
  return std::strtol(digits.c_str(), nullptr, 16);
}

bool is_high(long unit) { return unit >= 0xD800 && unit < 0xDC00; }
bool is_low(long unit) { return unit >= 0xDC00 && unit < 0xE000; }

/// Rewrites text that Python reads as JSON that means the same, up to what JSON cannot say.
class Rewriter {
 public:
  explicit Rewriter(std::string_view text) : text_(text) { out_.reserve(text.size()); }

  std::string rewritten() {
    while (!rest().empty()) {
      if (rest().front() == '"') {
        take_string();
      } else if (!take_word() && !take_number()) {
        copy(1);
      }
    }
    return std::move(out_);
  }

 private:
  std::string_view rest() const { return text_.substr(at_); }
  void copy(std::size_t size) {
    out_ += rest().substr(0, size);
    at_ = std::min(at_ + size, text_.size());
  }
  void replace(std::size_t size, std::string_view by) {
    out_ += by;
    at_ += size;
  }

  void take_string() {
    copy(1);
    while (!rest().empty() && rest().front() != '"') {
      const long unit = escaped_unit(rest());
      const bool pair = is_high(unit) && is_low(escaped_unit(rest().substr(6)));
      if (pair) {
        copy(12);
      } else if (is_high(unit) || is_low(unit)) {
        replace(6, "\\ufffd");
      } else {
        copy(rest().front() == '\\' ? 2 : 1);
      }
    }
    copy(1);
  }

  bool take_word() {
    for (const std::string_view word : kBeyondJson) {
      if (!rest().starts_with(word)) continue;
      replace(word.size(), Json(word).dump());
      return true;
    }
    return false;
  }

  bool take_number() {
    const std::size_t size = std::min(rest().find_first_not_of("+-.0123456789eE"), rest().size());
    if (size == 0) return false;
    const double value = std::strtod(std::string(rest().substr(0, size)).c_str(), nullptr);
    if (std::isinf(value)) {
      replace(size, value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    } else {
      copy(size);
    }
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string out_;
};

/// Follows a parser through the document and keeps the paths of keys given twice.
class KeyWatch {
 public:
  void begin_object() { objects_.emplace_back(); }
  void end_object() { objects_.pop_back(); }
  void key(const std::string& name) {
    objects_.back().current = name;
    if (objects_.back().seen.insert(name).second) return;
    std::string path;
    for (const Object& object : objects_) path += (path.empty() ? "" : ".") + object.current;
    repeated_.push_back(path);
  }
  std::vector<std::string> repeated() && { return std::move(repeated_); }

 private:
  struct Object {
    std::set<std::string> seen;
    std::string current;
  };
  std::vector<Object> objects_;
  std::vector<std::string> repeated_;
};

std::string at_byte(const std::string& place, std::string_view text, std::size_t byte) {
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(byte, text.size()));
  return place + ":" + std::to_string(1 + std::count(text.begin(), end, '\n')) + ": ";
}

}  // namespace

PythonJson parse_python_json(std::string_view text, const std::string& place) {
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    throw DataError(at_byte(place, text, nul) + "not valid JSON");  // taken for the end otherwise
  }
  const std::string json = Rewriter(text).rewritten();
  KeyWatch keys;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kDeepest) throw DataError(place + ": nested too deeply");
    if (event == Json::parse_event_t::object_start) keys.begin_object();
    if (event == Json::parse_event_t::object_end) keys.end_object();
    if (event == Json::parse_event_t::key) keys.key(parsed.get<std::string>());
    return true;
  };
  try {
    Json value = Json::parse(json, watch);
    return {std::move(value), std::move(keys).repeated()};
  } catch (const Json::exception& error) {
    // Only lengths inside lines differ from the text that was given.
    const auto* syntax = dynamic_cast<const Json::parse_error*>(&error);
    throw DataError(at_byte(place, json, syntax != nullptr ? syntax->byte : 0) + "not valid JSON");
  }
}

std::string dump_python_json(const Json& value) {
  std::string text = value.dump(2);
  for (const std::string_view word : kBeyondJson) {
    const std::string quoted = Json(word).dump();
    for (std::size_t at = text.find(quoted); at != std::string::npos; at = text.find(quoted, at)) {
      const std::size_t end = at + quoted.size();
      const bool inside_a_string = at > 0 && text[at - 1] == '\\';
      const bool key = end < text.size() && text[end] == ':';
      if (inside_a_string || key) {
        at = end;
      } else {
        text.replace(at, quoted.size(), word);
        at += word.size();
      }
    }
  }
  return text;
}

}  // namespace sae
