#include "tools/convert/tool_config.h"

#include <cmath>
#include <regex>
#include <utility>

#include "base/strict_json.h"
#include "sae/base/error.h"
#include "sae/base/files.h"

namespace sae {

using Json = nlohmann::ordered_json;

ToolConfig::ToolConfig(const std::filesystem::path& file) : place_(file.string()) {
  const std::string text = read_file(file);
  parse_strict_json(text, place_);  // says what is wrong and where, but sorts the keys
  json_ = Json::parse(text);
  if (!json_.is_object()) fail("is " + std::string(json_.type_name()) + ", expected an object");
}

ToolConfig::ToolConfig(Json json, std::string place)
    : json_(std::move(json)), place_(std::move(place)) {}

void ToolConfig::fail(const std::string& what) const { throw DataError(place_ + ": " + what); }

void ToolConfig::fail_at(const char* key, const std::string& expected) const {
  const auto found = json_.find(key);
  if (found == json_.end()) fail("no key '" + std::string(key) + "', expected " + expected);
  std::string got = found->dump();
  if (got.size() > 60) got = got.substr(0, 57) + "...";
  fail(std::string(key) + " is " + got + ", expected " + expected);
}

bool ToolConfig::has(const char* key) const {
  const auto found = json_.find(key);
  return found != json_.end() && !found->is_null();
}

std::int64_t ToolConfig::integer(const char* key, std::int64_t low, std::int64_t high) const {
  const std::string expected =
      "an integer from " + std::to_string(low) + " to " + std::to_string(high);
  if (!has(key) || !json_.at(key).is_number()) fail_at(key, expected);
  const auto value = json_.at(key).get<double>();
  // A double holds every integer that a size may be.
  const bool fits = value >= static_cast<double>(low) && value <= static_cast<double>(high);
  if (!fits || std::floor(value) != value) fail_at(key, expected);
  return static_cast<std::int64_t>(value);
}

double ToolConfig::number(const char* key) const {
  if (!has(key) || !json_.at(key).is_number()) fail_at(key, "a number");
  return json_.at(key).get<double>();
}

std::string ToolConfig::string(const char* key) const {
  if (!has(key) || !json_.at(key).is_string()) fail_at(key, "a string");
  return json_.at(key).get<std::string>();
}

std::string ToolConfig::string_or(const char* key, const std::string& otherwise) const {
  return has(key) ? string(key) : otherwise;
}

bool ToolConfig::flag_or(const char* key, bool otherwise) const {
  if (!has(key)) return otherwise;
  if (!json_.at(key).is_boolean()) fail_at(key, "true or false");
  return json_.at(key).get<bool>();
}

ToolConfig ToolConfig::object(const char* key) const {
  if (!has(key)) return {Json::object(), place_ + ": " + key};
  if (!json_.at(key).is_object()) fail_at(key, "an object");
  return {json_.at(key), place_ + ": " + key};
}

Json provenance(const PlainSae& plain) {
  Json out = Json::object();
  if (!plain.source.empty()) out["source"] = plain.source;
  if (!plain.training.is_null()) out["training"] = plain.training;
  if (!plain.origin.is_null()) out["converted_from"] = plain.origin;
  return out;
}

void take_provenance(PlainSae& plain, const Json& object) {
  if (!object.is_object()) return;
  const auto take = [&](const char* key, Json& into) {
    const auto found = object.find(key);
    if (found != object.end() && found->is_object()) into = *found;
  };
  take("source", plain.source);
  take("training", plain.training);
  take("converted_from", plain.origin);
}

void set_hook(Json& source, const std::string& hook) {
  static const std::regex kTransformerLens(R"(blocks\.(\d{1,6})\.hook_(\w+))");
  static const std::regex kModule(R"((?:\w+\.)*(?:layers|layer|h)\.(\d{1,6})(\.mlp)?)");
  constexpr std::size_t kLongest = 200;  // std::regex recurses once a character
  source["hook_name"] = hook;
  if (hook.size() > kLongest) return;
  std::smatch match;
  if (std::regex_match(hook, match, kTransformerLens)) {
    source["layer"] = std::stoi(match[1]);
    source["site"] = match[2].str();
  } else if (std::regex_match(hook, match, kModule)) {
    source["layer"] = std::stoi(match[1]);
    source["site"] = match[2].matched ? "mlp_out" : "resid_post";
  }
}

std::string dataset_name(const Json& source) {
  const auto found = source.find("dataset");
  if (found == source.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return found->is_null() ? "" : found->dump();
  std::string names;
  for (const Json& part : *found) {
    std::string name = part.is_string() ? part.get<std::string>() : part.dump();
    for (const char* key : {"file", "name"}) {
      if (part.is_object() && part.contains(key) && part[key].is_string()) name = part[key];
    }
    names += (names.empty() ? "" : ", ") + name;
  }
  return names;
}

}  // namespace sae
