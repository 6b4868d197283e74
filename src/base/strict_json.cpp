#include "base/strict_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "sae/base/error.h"

namespace sae {
namespace {

constexpr int kDeepest = 64;

std::string at_byte(const std::string& place, std::string_view text, std::size_t byte) {
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(byte, text.size()));
  return place + ":" + std::to_string(1 + std::count(text.begin(), end, '\n')) + ": ";
}

bool contains(std::initializer_list<const char*> names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

nlohmann::json parse_strict_json(std::string_view text, const std::string& place) {
  using Event = nlohmann::json::parse_event_t;
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, Event event, nlohmann::json& parsed) {
    if (depth > kDeepest) throw DataError(place + ": nested too deeply");
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second) {
      throw DataError(place + ": key " + parsed.dump() + " appears twice");
    }
    return true;
  };
  if (const std::size_t nul = text.find('\0'); nul != text.npos) {
    throw DataError(at_byte(place, text, nul) + "not valid JSON");  // taken for the end otherwise
  }
  try {
    return nlohmann::json::parse(text, watch);
  } catch (const nlohmann::json::exception& error) {
    const auto* syntax = dynamic_cast<const nlohmann::json::parse_error*>(&error);
    throw DataError(at_byte(place, text, syntax != nullptr ? syntax->byte : 0) + "not valid JSON");
  }
}

void check_keys(const nlohmann::json& object, std::initializer_list<const char*> required,
                std::initializer_list<const char*> optional, const std::string& place) {
  if (!object.is_object()) throw DataError(place + ": expected an object");
  for (const char* name : required) {
    if (!object.contains(name)) throw DataError(place + ": key \"" + name + "\" is missing");
  }
  for (const auto& item : object.items()) {
    if (!contains(required, item.key()) && !contains(optional, item.key())) {
      throw DataError(place + ": unknown key " + nlohmann::json(item.key()).dump());
    }
  }
}

}  // namespace sae
