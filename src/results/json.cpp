// results.json, written in one place and read back strictly in another.
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "sae/base/error.h"
#include "sae/base/text.h"
#include "sae/metrics/metric_values.h"
#include "sae/results/results.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "sae-comparison";
constexpr int kVersion = 2;

/// Text from elsewhere (an error message with a file's name in it) need not be UTF-8; JSON must be.
std::string dumped(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Json history_json(const std::vector<MetricsRow>& history) {
  Json rows = Json::array();
  for (const MetricsRow& row : history) {
    rows.push_back({{"step", row.step}, {"values", to_json(row.values)}});
  }
  return rows;
}

Json run_json(const RunResult& run) {
  Json point = Json::object();
  for (const auto& [path, value] : run.point) point[path] = *value;
  Json by_class = Json::object();
  for (const auto& [metric, values] : run.by_class) by_class[metric] = to_json(values);
  Json json = {{"name", run.name},
               {"member", run.member},
               {"point", point},
               {"seed", run.seed},
               {"status", run.done ? "done" : "failed"},
               {"message", run.message},
               {"wall_s", to_json(run.wall_s)},
               {"metrics", to_json(run.metrics)},
               {"firing", to_json(run.firing)},
               {"by_class", by_class},
               {"history", history_json(run.history)}};
  if (!run.unranked.empty()) json["not_ranked"] = run.unranked;
  return json;
}

Json member_json(const Member& member) {
  Json json = {{"label", member.label},
               {"architecture", member.architecture},
               {"masked", member.masked},
               {"base", member.base}};
  if (member.frozen) json["frozen"] = true;
  if (member.axes.empty()) return json;
  json["family"] = member.family;
  json["axes"] = Json::object();
  for (const AxisValue& one : member.axes) json["axes"][one.axis] = *one.value;
  return json;
}

/// A run takes a line.
std::string runs_text(const std::vector<RunResult>& runs) {
  std::string text = "[";
  for (std::size_t i = 0; i < runs.size(); ++i) {
    text += (i == 0 ? "\n  " : ",\n  ") + dumped(run_json(runs[i]));
  }
  return text + "\n ]";
}

// Reading.

[[noreturn]] void fail(const std::string& place, const std::string& what) {
  throw DataError(place + ": " + what);
}

Json parse(std::string_view text, const std::string& place) {
  std::vector<std::set<std::string>> open;  // keys so far, of every object being read
  std::string twice;
  const auto watch = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key &&
        !open.back().insert(parsed.get<std::string>()).second) {
      twice = parsed.get<std::string>();
    }
    return true;
  };
  try {
    Json value = Json::parse(text, watch);
    if (!twice.empty()) fail(place, "key '" + twice + "' appears twice");
    return value;
  } catch (const Json::exception& error) {
    fail(place, std::string("not JSON: ") + error.what());
  }
}

/// An object whose keys must all be taken, each as what it should be.
class Reader {
 public:
  Reader(const Json& json, std::string place) : json_(json), place_(std::move(place)) {
    if (!json.is_object()) fail(place_, std::string("expected an object, got ") + json.type_name());
  }

  const Json& take(const char* key) {
    taken_.insert(key);
    const auto found = json_.find(key);
    if (found == json_.end()) fail(place_, std::string("'") + key + "' is missing");
    return *found;
  }

  std::string text(const char* key) {
    const Json& value = take(key);
    if (!value.is_string()) wrong(key, "a string", value);
    return value.get<std::string>();
  }

  std::int64_t integer(const char* key) {
    const Json& value = take(key);
    if (!value.is_number_integer()) wrong(key, "an integer", value);
    return value.get<std::int64_t>();
  }

  bool boolean(const char* key) {
    const Json& value = take(key);
    if (!value.is_boolean()) wrong(key, "true or false", value);
    return value.get<bool>();
  }

  double real(const char* key) { return real(key, take(key)); }

  const Json& array(const char* key) {
    const Json& value = take(key);
    if (!value.is_array()) wrong(key, "an array", value);
    return value;
  }

  MetricValues values(const char* key) {
    MetricValues values;
    for (const auto& [name, value] : object(key).items()) values[name] = real(name, value);
    return values;
  }

  std::map<std::string, std::string> texts(const char* key) {
    std::map<std::string, std::string> texts;
    for (const auto& [name, value] : object(key).items()) {
      if (!value.is_string()) wrong(name, "a string", value);
      texts[name] = value.get<std::string>();
    }
    return texts;
  }

  bool has(const char* key) const { return json_.contains(key); }

  const Json& object(const char* key) {
    const Json& value = take(key);
    if (!value.is_object()) wrong(key, "an object", value);
    return value;
  }

  Reader child(const char* key) { return {take(key), place_ + ": " + key}; }

  void finish() const {
    for (const auto& [key, value] : json_.items()) {
      if (taken_.count(key) == 0) fail(place_, "unknown key '" + key + "'");
    }
  }

  double real(const std::string& key, const Json& value) const {
    if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
    if (!value.is_number()) wrong(key, "a number or null", value);
    return value.get<double>();
  }

  [[noreturn]] void wrong(const std::string& key, const char* expected, const Json& got) const {
    fail(place_, "'" + key + "': expected " + expected + ", got " + got.dump().substr(0, 60));
  }

 private:
  const Json& json_;
  std::string place_;
  std::set<std::string> taken_;
};

FiringHistogram read_firing(Reader reader, const std::string& place) {
  FiringHistogram firing;
  for (const Json& edge : reader.array("edges")) firing.edges.push_back(reader.real("edges", edge));
  for (const Json& count : reader.array("counts")) {
    if (!count.is_number_integer()) reader.wrong("counts", "integers", count);
    firing.counts.push_back(count.get<std::int64_t>());
  }
  firing.never = reader.integer("never");
  reader.finish();
  if (firing.edges.size() != (firing.counts.empty() ? 0 : firing.counts.size() + 1)) {
    fail(place, "firing has " + std::to_string(firing.counts.size()) + " counts and " +
                    std::to_string(firing.edges.size()) + " edges, expected one edge more");
  }
  return firing;
}

RunResult read_run(const Json& json, const std::string& place) {
  Reader reader(json, place);
  RunResult run;
  run.name = reader.text("name");
  run.member = reader.text("member");
  for (const auto& [path, value] : reader.object("point").items()) run.point[path] = Json(value);
  run.seed = reader.integer("seed");
  const std::string status = reader.text("status");
  if (status != "done" && status != "failed") {
    fail(place, "'status': expected \"done\" or \"failed\", got \"" + status + "\"");
  }
  run.done = status == "done";
  run.message = reader.text("message");
  run.wall_s = reader.real("wall_s");
  run.metrics = reader.values("metrics");
  for (const auto& [name, value] : run.metrics) {
    const std::string now = renamed_to(name);
    if (now.empty()) continue;
    fail(place, "'" + name + "' is of an earlier version of sae: it is now " + now +
                    " and rests on other parent features; evaluate again: repeat sae compare with "
                    "another --out");
  }
  run.firing = read_firing(reader.child("firing"), place);
  const Json& by_class = reader.object("by_class");
  Reader classes(by_class, place + ": by_class");
  for (const auto& [metric, values] : by_class.items()) {
    run.by_class[metric] = classes.values(metric.c_str());
  }
  for (const Json& row : reader.array("history")) {
    Reader entry(row, place + ": history");
    run.history.push_back({entry.integer("step"), entry.values("values")});
    entry.finish();
  }
  if (reader.has("not_ranked")) run.unranked = reader.texts("not_ranked");
  reader.finish();
  return run;
}

Member read_member(const Json& json, const std::string& place) {
  Reader reader(json, place);
  Member member{reader.text("label"), reader.text("architecture"), reader.boolean("masked"),
                reader.text("base")};
  if (reader.has("frozen")) member.frozen = reader.boolean("frozen");
  if (reader.has("axes")) {
    member.family = reader.text("family");
    const Json& axes = reader.object("axes");
    if (axes.empty()) reader.wrong("axes", "where it stands on them", axes);
    for (const auto& [axis, value] : axes.items()) member.axes.push_back({axis, Json(value)});
  }
  reader.finish();
  return member;
}

std::vector<RunResult> read_runs(Reader& reader, const char* key, const std::string& place) {
  std::vector<RunResult> runs;
  for (const Json& run : reader.array(key)) {
    runs.push_back(read_run(run, place + ": " + key + "[" + std::to_string(runs.size()) + "]"));
  }
  return runs;
}

}  // namespace

std::string to_json(const ComparisonResult& result) {
  Json members = Json::array();
  for (const Member& member : result.members) members.push_back(member_json(member));
  Json head = {{"format", kFormat},
               {"version", kVersion},
               {"title", result.title},
               {"command", result.command},
               {"versions", Json(result.versions)},
               {"settings", result.settings ? *result.settings : Json::object()},
               {"members", members}};
  if (result.judge) head["judge"] = *result.judge;
  std::string text = dumped(head, 1);
  text.resize(text.size() - 2);  // the closing brace comes after the runs, which take a line each
  return text + ",\n \"runs\": " + runs_text(result.runs) +
         ",\n \"controls\": " + runs_text(result.controls) + "\n}\n";
}

ComparisonResult comparison_from_json(std::string_view text, const std::string& place) {
  const Json json = parse(text, place);
  Reader reader(json, place);
  const std::string format = reader.text("format");
  const std::int64_t version = reader.integer("version");
  if (format != kFormat || version != kVersion) {
    fail(place, std::string("expected format ") + kFormat + " version " + std::to_string(kVersion) +
                    ", got " + format + " version " + std::to_string(version));
  }
  ComparisonResult result;
  result.title = reader.text("title");
  result.command = reader.text("command");
  result.versions = reader.texts("versions");
  result.settings = Json(reader.take("settings"));
  for (const Json& member : reader.array("members")) {
    result.members.push_back(read_member(member, place + ": members"));
  }
  if (reader.has("judge")) result.judge = Json(reader.object("judge"));
  result.runs = read_runs(reader, "runs", place);
  result.controls = read_runs(reader, "controls", place);
  reader.finish();
  return result;
}

}  // namespace sae
