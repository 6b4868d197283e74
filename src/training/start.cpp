#include "training/start.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "models/interchange/formats.h"
#include "models/interchange/start.h"
#include "sae/base/error.h"
#include "sae/base/sha256.h"
#include "sae/base/text.h"
#include "sae/training/checkpoint.h"
#include "sae/training/open.h"
#include "training/run_options.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kPlace = "train.from: ";

/// The folder or file whose weights are read for `path`.
fs::path read_at(const fs::path& path) {
  const PathKind kind = what_is_at(path);
  if (kind == PathKind::kRun) return path / "sae";
  if (kind != PathKind::kUnfinishedRun) return path;
  return newest_checkpoint(path / "checkpoints").value_or(path);
}

std::map<std::string, std::string> digests_of(const fs::path& path) {
  if (!fs::is_directory(path)) return {{path.filename().string(), sha256_of_file(path)}};
  std::map<std::string, std::string> digests;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    if (!entry.is_regular_file()) continue;
    digests[entry.path().filename().string()] = sha256_of_file(entry.path());
  }
  return digests;
}

/// An autoencoder that takes raw activations, and what a person should know of it.
PlainSae read_plain(const fs::path& path, std::string& format) {
  const PathKind kind = what_is_at(path);
  const bool foreign = kind == PathKind::kForeign || kind == PathKind::kFile ||
                       kind == PathKind::kNothing || kind == PathKind::kUnknown;
  if (foreign) {
    const SaeFormat& found = detect_format(path);
    format = found.name;
    return found.read(path);
  }
  OpenedSae opened = open_sae(path);  // or it says what is there instead
  format = opened.format;
  try {
    PlainSae plain = plain_of(opened.folder);
    plain.notes = std::move(opened.notes);
    return plain;
  } catch (const ConfigError& error) {  // a mask that no other one can take over
    throw ConfigError(kPlace + path.string() + ": " + error.what());
  }
}

void require_fitting(const RunOptions& options, const PlainSae& plain, std::int64_t d_in,
                     std::int64_t d_sae) {
  const std::string& path = options.train.start.from;
  if (plain.d_in() != d_in) {
    throw ConfigError(kPlace + path + " has inputs of width " + std::to_string(plain.d_in()) +
                      ", the data has " + std::to_string(d_in) +
                      "; expected one of activations like these");
  }
  if (plain.d_sae() > d_sae) {
    throw ConfigError(kPlace + path + " has " + std::to_string(plain.d_sae()) +
                      " latents, model.d_sae is " + std::to_string(d_sae) + "; expected at least " +
                      std::to_string(plain.d_sae()));
  }
}

}  // namespace

std::optional<Start> read_start(const RunOptions& options, std::int64_t d_in) try {
  const std::string& path = options.train.start.from;
  if (path.empty()) return std::nullopt;
  const Json model = resolve_run(options).at("model");
  const auto d_sae = model.at("d_sae").get<std::int64_t>();
  Start start;
  start.plain = read_plain(path, start.from.format);
  require_fitting(options, start.plain, d_in, d_sae);
  start.from.path = path;
  start.from.function = describe(start.plain);
  start.from.d_sae = start.plain.d_sae();
  start.from.sha256 = digests_of(read_at(path));
  std::string text = kPlace + path + " (" + start.from.format + "): " + start.from.function + ", " +
                     std::to_string(start.from.d_sae) + " latents";
  const std::int64_t more = d_sae - start.from.d_sae;
  if (more > 0) text += "; " + std::to_string(more) + " more start at random";
  start.notices.push_back({Notice::Kind::kNote, text});
  for (const std::string& note : start.plain.notes) {
    start.notices.push_back({Notice::Kind::kNote, kPlace + note});
  }
  for (const std::string& lost : lost_by(start.plain, model)) {
    start.notices.push_back({Notice::Kind::kNote, kPlace + path + ": " + lost});
  }
  return start;
} catch (const Json::exception& error) {
  throw DataError(options.train.start.from + ": damaged: " + error.what());
} catch (const fs::filesystem_error& error) {
  throw DataError(options.train.start.from + ": cannot be read: " + error.code().message());
}

bool needs_start(const fs::path& folder) { return !newest_checkpoint(folder / "checkpoints"); }

Facts facts_of_start(const StartedFrom& from) {
  Facts facts;
  for (const auto& [name, digest] : from.sha256) facts.emplace_back("train.from, " + name, digest);
  return facts;
}

Json to_json(const StartedFrom& from) {
  return {{"path", from.path},
          {"format", from.format},
          {"function", from.function},
          {"d_sae", from.d_sae},
          {"sha256", from.sha256}};
}

StartedFrom started_from_json(const Json& object) {
  return {.path = object.at("path").get<std::string>(),
          .format = object.at("format").get<std::string>(),
          .function = object.at("function").get<std::string>(),
          .d_sae = object.at("d_sae").get<std::int64_t>(),
          .sha256 = object.at("sha256").get<std::map<std::string, std::string>>()};
}

}  // namespace sae
