#include "tools/blind/formats.h"

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <utility>

#include "base/strict_json.h"
#include "sae/base/error.h"
#include "sae/base/text.h"

namespace sae {
namespace {

using nlohmann::json;

constexpr const char* kKeyFormat = "sae-blind-key";
constexpr const char* kAnswersFormat = "sae-blind-answers";
constexpr std::int64_t kMost = std::int64_t{1} << 53;  // what JavaScript counts exactly
constexpr std::size_t kLongestText = 4096;

/// A value of a document, with its place in messages.
class Value {
 public:
  Value(const json& value, std::string place) : value_(value), place_(std::move(place)) {}

  [[noreturn]] void fail(const std::string& expected) const {
    throw DataError(place_ + ": got " + printable(dumped()) + ", expected " + expected);
  }

  void require_keys(std::initializer_list<const char*> required,
                    std::initializer_list<const char*> optional = {}) const {
    check_keys(value_, required, optional, place_);
  }
  bool has(const char* key) const { return value_.contains(key); }
  Value at(const char* key) const { return {value_.at(key), place_ + ": " + key}; }

  /// Elements of an array, [i] added to its place.
  std::vector<Value> list() const {
    if (!value_.is_array()) fail("a list");
    std::vector<Value> out;
    for (std::size_t i = 0; i < value_.size(); ++i) {
      out.emplace_back(value_[i], place_ + "[" + std::to_string(i) + "]");
    }
    return out;
  }

  std::int64_t whole(std::int64_t least, std::int64_t most) const {
    const std::string expected =
        most == kMost
            ? "a whole number, " + std::to_string(least) + " or more"
            : "a whole number from " + std::to_string(least) + " to " + std::to_string(most);
    if (!value_.is_number_integer()) fail(expected);
    const bool large = value_.is_number_unsigned() &&
                       value_.get<std::uint64_t>() > static_cast<std::uint64_t>(kMost);
    if (large || value_.get<std::int64_t>() < least || value_.get<std::int64_t>() > most) {
      fail(expected);
    }
    return value_.get<std::int64_t>();
  }

  std::string text() const {
    if (!value_.is_string() || value_.get_ref<const std::string&>().empty() ||
        value_.get_ref<const std::string&>().size() > kLongestText) {
      fail("a text of 1 to " + std::to_string(kLongestText) + " bytes");
    }
    return value_.get<std::string>();
  }

  /// Hexadecimal digits, lower-case.
  std::string hex(std::size_t digits) const {
    const auto* found = value_.get_ptr<const std::string*>();
    if (found == nullptr || found->size() != digits ||
        found->find_first_not_of("0123456789abcdef") != std::string::npos) {
      fail(std::to_string(digits) + " hexadecimal digits");
    }
    return *found;
  }

 private:
  std::string dumped() const {
    return value_.is_structured() ? (value_.is_array() ? "a list" : "an object")
                                  : value_.dump(-1, ' ', true, json::error_handler_t::replace);
  }

  const json& value_;
  std::string place_;
};

/// An object with the keys format, version and `keys`, the first two as they should be.
void require_format(const json& document, const std::string& place, const char* format,
                    std::initializer_list<const char*> keys) {
  if (!document.is_object() || document.value("format", json()) != format) {
    throw DataError(place + ": expected an object with \"format\": \"" + format + "\"");
  }
  json rest = document;
  rest.erase("format");
  if (rest.value("version", json()) != 1) {
    throw DataError(place + ": version: expected 1, which this release reads");
  }
  rest.erase("version");
  check_keys(rest, keys, {}, place);
}

KeyItem read_item(const Value& from, std::size_t members) {
  from.require_keys({"id", "task", "member", "latent", "bin", "group", "rows", "intruder"},
                    {"repeats"});
  KeyItem item;
  item.id = from.at("id").hex(kItemIdDigits);
  const auto task = choice_named<BlindTask>(from.at("task").text());
  if (!task) from.at("task").fail("one of " + joined(choice_names<BlindTask>()));
  item.task = *task;
  item.member = from.at("member").whole(0, static_cast<std::int64_t>(members) - 1);
  item.latent = from.at("latent").whole(0, kMost);
  item.bin = from.at("bin").whole(0, 62);
  item.group = from.at("group").whole(0, kMost);
  const std::vector<Value> rows = from.at("rows").list();
  if (rows.size() != item.rows.size()) from.at("rows").fail("a list of 5 rows");
  for (std::size_t i = 0; i < rows.size(); ++i) item.rows[i] = rows[i].whole(0, kMost);
  item.intruder = from.at("intruder").whole(1, kTextsOfItem);
  if (from.has("repeats")) item.repeats = from.at("repeats").hex(kItemIdDigits);
  return item;
}

/// What is the same however often an item is shown.
auto content_of(const KeyItem& item) {
  auto rows = item.rows;
  std::sort(rows.begin(), rows.end());
  const std::int64_t intruder = item.rows[static_cast<std::size_t>(item.intruder - 1)];
  return std::tuple(item.task, item.member, item.latent, item.bin, item.group, rows, intruder);
}

}  // namespace

std::string to_text(const BlindKey& key) {
  nlohmann::ordered_json out{{"format", kKeyFormat},
                             {"version", 1},
                             {"sha256", key.sha256},
                             {"store", key.store},
                             {"store_sha256", key.store_sha256},
                             {"seed", key.seed},
                             {"members", key.members}};
  std::string text = out.dump(1, ' ', false, json::error_handler_t::replace);
  text.erase(text.rfind('\n'));
  text += ",\n \"items\": [";
  const char* separator = "\n  ";
  for (const KeyItem& item : key.items) {
    nlohmann::ordered_json one{{"id", item.id},         {"task", name_of(item.task)},
                               {"member", item.member}, {"latent", item.latent},
                               {"bin", item.bin},       {"group", item.group},
                               {"rows", item.rows},     {"intruder", item.intruder}};
    if (!item.repeats.empty()) one["repeats"] = item.repeats;
    text += std::exchange(separator, ",\n  ") + one.dump();
  }
  return text + "\n ]\n}\n";
}

BlindKey parse_blind_key(std::string_view text, const std::string& place) {
  const json document = parse_strict_json(text, place);
  const Value file(document, place);
  require_format(document, place, kKeyFormat,
                 {"sha256", "store", "store_sha256", "seed", "members", "items"});
  BlindKey key;
  key.sha256 = file.at("sha256").hex(64);
  key.store = file.at("store").text();
  key.store_sha256 = file.at("store_sha256").hex(64);
  key.seed = file.at("seed").whole(0, kMost);
  for (const Value& member : file.at("members").list()) key.members.push_back(member.text());
  if (key.members.size() < 2) file.at("members").fail("at least two");
  std::map<std::string, const KeyItem*> items;
  const std::vector<Value> list = file.at("items").list();
  key.items.reserve(list.size());  // pointers to them stay valid
  for (const Value& from : list) {
    const KeyItem& item = key.items.emplace_back(read_item(from, key.members.size()));
    if (!items.emplace(item.id, &item).second) from.at("id").fail("another one for each item");
    if (item.repeats.empty()) continue;
    const auto first = items.find(item.repeats);
    if (first == items.end() || !first->second->repeats.empty() ||
        content_of(*first->second) != content_of(item)) {
      from.at("repeats").fail("the id of an item before it, with the same rows");
    }
  }
  return key;
}

RaterAnswers parse_rater_answers(std::string_view text, const std::string& place) {
  const json document = parse_strict_json(text, place);
  const Value file(document, place);
  require_format(document, place, kAnswersFormat, {"sha256", "rater", "answers"});
  RaterAnswers out;
  out.sha256 = file.at("sha256").hex(64);
  out.rater = file.at("rater").text();
  std::set<std::string> ids;
  for (const Value& from : file.at("answers").list()) {
    from.require_keys({"id", "choice", "ms"});
    RaterAnswer answer{from.at("id").hex(kItemIdDigits), from.at("choice").whole(0, kTextsOfItem),
                       from.at("ms").whole(0, kMost)};
    if (!ids.insert(answer.id).second) from.at("id").fail("another one for each answer");
    out.answers.push_back(std::move(answer));
  }
  return out;
}

}  // namespace sae
