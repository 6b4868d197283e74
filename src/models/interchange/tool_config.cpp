#include "models/interchange/tool_config.h"

#include <cmath>
#include <utility>

#include "models/interchange/python_json.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/text.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::uintmax_t kLargestInforming = std::uintmax_t{16} << 20;

std::string quoted(const Json& value) { return printable(value.dump(-1, ' ', true)); }

/// Why a file that is there cannot be looked into; empty if it can.
std::string obstacle(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return "is no regular file";
  const std::uintmax_t size = fs::file_size(file, error);
  if (error) return error.message();
  return size > kLargestInforming ? "is larger than any configuration" : "";
}

}  // namespace

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

ToolConfig::ToolConfig(const fs::path& file) : place_(file.string()) {
  PythonJson read = parse_python_json(read_file(file), place_);
  json_ = std::move(read.value);
  repeated_ =
      std::make_shared<const std::set<std::string>>(read.repeated.begin(), read.repeated.end());
  if (!json_.is_object()) fail("is " + std::string(json_.type_name()) + ", expected an object");
}

std::optional<ToolConfig> ToolConfig::informing(const fs::path& file, Notes& notes) {
  std::error_code error;
  if (fs::status(file, error).type() == fs::file_type::not_found) return {};
  std::string reason = obstacle(file);
  if (reason.empty()) {
    try {
      return ToolConfig(file);
    } catch (const DataError& refused) {
      reason = refused.what();
    }
  } else {
    reason = file.string() + ": " + reason;
  }
  notes.push_back(reason + "; left out, as it says nothing about the weights");
  return {};
}

void ToolConfig::fail(const std::string& what) const { throw DataError(place_ + ": " + what); }

void ToolConfig::fail_at(const char* key, const std::string& expected) const {
  const auto found = json_.find(key);
  if (found == json_.end()) fail("no key '" + std::string(key) + "', expected " + expected);
  fail(std::string(key) + " is " + quoted(*found) + ", expected " + expected);
}

void ToolConfig::expect_once(const char* key) const {
  if (repeated_->contains(path_ + key)) {
    fail("key '" + std::string(key) + "' appears twice, expected once");
  }
}

bool ToolConfig::has(const char* key) const {
  const auto found = json_.find(key);
  return found != json_.end() && !found->is_null();
}

std::int64_t ToolConfig::integer(const char* key, std::int64_t low, std::int64_t high) const {
  const std::string expected =
      "an integer from " + std::to_string(low) + " to " + std::to_string(high);
  expect_once(key);
  if (!has(key) || !json_.at(key).is_number()) fail_at(key, expected);
  const auto value = json_.at(key).get<double>();
  // A double holds every integer that a size may be.
  const bool fits = value >= static_cast<double>(low) && value <= static_cast<double>(high);
  if (!fits || std::floor(value) != value) fail_at(key, expected);
  return static_cast<std::int64_t>(value);
}

double ToolConfig::number(const char* key) const {
  expect_once(key);
  if (!has(key) || !json_.at(key).is_number()) fail_at(key, "a number");
  return json_.at(key).get<double>();
}

std::string ToolConfig::string(const char* key) const {
  expect_once(key);
  if (!has(key) || !json_.at(key).is_string()) fail_at(key, "a string");
  return json_.at(key).get<std::string>();
}

std::string ToolConfig::string_or(const char* key, const std::string& otherwise) const {
  return has(key) ? string(key) : otherwise;
}

bool ToolConfig::flag_or(const char* key, bool otherwise) const {
  if (!has(key)) return otherwise;
  expect_once(key);
  if (!json_.at(key).is_boolean()) fail_at(key, "true or false");
  return json_.at(key).get<bool>();
}

ToolConfig ToolConfig::below(const char* key) const {
  ToolConfig part = *this;
  part.json_ = has(key) ? json_.at(key) : Json::object();
  part.place_ += std::string(": ") + key;
  part.path_ += std::string(key) + ".";
  return part;
}

ToolConfig ToolConfig::object(const char* key) const {
  if (has(key) && !json_.at(key).is_object()) fail_at(key, "an object");
  expect_once(key);
  return below(key);
}

std::string ToolConfig::text(const char* key) const {
  return has(key) && json_.at(key).is_string() ? json_.at(key).get<std::string>() : "";
}

std::optional<std::int64_t> ToolConfig::whole(const char* key) const {
  if (!has(key) || !json_.at(key).is_number_integer()) return {};
  const auto value = json_.at(key).get<std::int64_t>();
  return value >= 0 ? std::optional(value) : std::nullopt;
}

ToolConfig ToolConfig::part(const char* key, Notes& notes) const {
  ToolConfig found = below(key);
  if (!found.json_.is_object()) {
    notes.push_back(place_ + ": " + key + " is " + quoted(found.json_) +
                    ", expected an object; left out, as it says nothing about the weights");
    found.json_ = Json::object();
  }
  return found;
}

}  // namespace sae
