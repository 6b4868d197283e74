// Single files that are no JSON.
#include "sae/base/files.h"

#include <torch/types.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "formats/npy.h"
#include "formats/npz_arrays.h"
#include "formats/torch_archive.h"
#include "formats/zip.h"
#include "sae/base/error.h"
#include "sae/base/text.h"
#include "sae/data/store.h"
#include "sae/evaluation/judge.h"
#include "sae/formats/safetensors.h"
#include "sae/metrics/metric_values.h"
#include "sae/metrics/metrics_log.h"
#include "sae/training/open.h"
#include "tools/info/kinds.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::size_t kListed = 64;  // entries of a file that are shown

/// A kind, how it is told, and what is said of it.
struct FileRow {
  const char* name;
  bool (*is)(const fs::path& path);
  Json (*describe)(const fs::path& path);
};

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::vector<std::string> sizes;
  for (const std::int64_t size : shape) sizes.push_back(std::to_string(size));
  return "[" + joined(sizes) + "]";
}

/// Whether the file begins with these bytes.
bool starts_with(const fs::path& path, std::string_view bytes) {
  try {
    return MappedFile(path).bytes().starts_with(bytes);
  } catch (const DataError&) {
    return false;
  }
}

/// Tensor names of a safetensors file; none for other files, and for damaged ones.
std::vector<std::string> names_in(const fs::path& path) {
  if (path.extension() != ".safetensors") return {};
  try {
    return SafetensorsFile(path).names();
  } catch (const DataError&) {
    return {};
  }
}

bool holds(const fs::path& path, std::initializer_list<const char*> names) {
  const std::vector<std::string> all = names_in(path);
  return std::all_of(names.begin(), names.end(), [&](const char* name) {
    return std::find(all.begin(), all.end(), name) != all.end();
  });
}

/// Every tensor with its type and shape.
Json tensors_of(const SafetensorsFile& file) {
  Json tensors = Json::object();
  for (const std::string& name : file.names()) {
    if (tensors.size() == kListed) break;
    tensors[name] = safetensors_dtype(file.dtype(name)) + " " + shape_text(file.shape(name));
  }
  return tensors;
}

Json describe_tensors(const fs::path& path) {
  const SafetensorsFile file(path);
  Json facts{{"tensors", file.names().size()}, {"metadata", file.metadata()}};
  facts["holds"] = tensors_of(file);
  return facts;
}

/// From the header alone: such files can be large.
Json describe_labelled(const fs::path& path) {
  const SafetensorsFile file(path);
  const auto metadata = [&](const char* key) {
    const auto found = file.metadata().find(key);
    return found == file.metadata().end() ? Json() : Json(found->second);
  };
  const Json classes = metadata("classes");
  Json facts{{"task", metadata("task")},
             {"classes", classes.is_string() ? Json::parse(classes.get<std::string>()) : Json()},
             {"words", !metadata("words").is_null()},
             {"fresh_prompts", file.contains("score_x")},
             {"texts_of_several_tokens", file.contains("train_offsets")}};
  facts["holds"] = tensors_of(file);
  return facts;
}

/// Likewise.
Json describe_judge(const fs::path& path) {
  const SafetensorsFile file(path);
  Json facts = Json::object();
  for (const char* key : {"model", "revision", "window", "store"}) {
    const auto found = file.metadata().find(key);
    facts[key] = found == file.metadata().end() ? Json() : Json(found->second);
  }
  facts["hides_tokens"] = file.contains("blind");
  facts["holds"] = tensors_of(file);
  return facts;
}

Json describe_one_file_store(const fs::path& path) {
  const ActivationStore store(path, /*verify_checksums=*/false);
  Json facts{{"d_in", store.d_in()},
             {"tokens", store.size()},
             {"dtype", c10::toString(store.dtype())},
             {"token_ids", store.has_tokens()},
             {"contexts", store.has_context()}};
  if (fs::exists(path.parent_path() / "manifest.json")) {
    facts["part_of"] = path.parent_path().string();
  }
  return facts;
}

/// A file that ActivationStore opens.
bool is_one_file_store(const fs::path& path) {
  try {
    if (path.extension() == ".safetensors") {
      const SafetensorsFile file(path);
      if (file.contains("activations")) return true;
      return file.names().size() == 1 && file.shape(file.names()[0]).size() == 2;
    }
    const MappedFile file(path);
    if (is_torch_file(file.bytes())) {
      ActivationStore(path, /*verify_checksums=*/false);
      return true;
    }
    return is_npy(file.bytes()) && parse_npy_header(file.bytes(), path.string()).columns > 0;
  } catch (const DataError&) {
    return false;
  }
}

Json describe_array(const fs::path& path) {
  const MappedFile file(path);
  const NpyArray array = parse_npy_array(file.bytes(), path.string());
  return {{"dtype", array.dtype}, {"shape", array.shape}};
}

Json describe_arrays(const fs::path& path) {
  const MappedFile file(path);
  Json arrays = Json::object();
  visit_npz(file.bytes(), path.string(),
            [&](const std::string& name, const NpyArray& array, std::string_view) {
              if (arrays.size() < kListed)
                arrays[name] = array.dtype + " " + shape_text(array.shape);
            });
  return {{"holds", arrays}};
}

Json describe_archive(const fs::path& path) {
  const MappedFile file(path);
  Json names = Json::array();
  for (const ZipEntry& entry : parse_zip(file.bytes(), path.string())) {
    if (names.size() < kListed) names.push_back(entry.name);
  }
  return {{"holds", names}};
}

Json describe_log(const fs::path& path) {
  const std::vector<MetricsRow> rows = read_metrics(path);
  Json facts{{"rows", rows.size()}};
  if (rows.empty()) return facts;
  facts["first_step"] = rows.front().step;
  facts["last_step"] = rows.back().step;
  facts["last"] = to_json(rows.back().values);
  return facts;
}

bool is_event_file(const fs::path& path) {
  return path.filename().string().find("tfevents") != std::string::npos;
}

/// Records are u64 size, u32 checksum, bytes, u32 checksum.
Json describe_events(const fs::path& path) {
  static_assert(std::endian::native == std::endian::little);
  const MappedFile file(path);
  std::string_view left = file.bytes();
  std::int64_t records = 0;
  while (left.size() >= 16) {
    std::uint64_t size = 0;
    std::memcpy(&size, left.data(), sizeof size);
    if (size > left.size() - 16) break;
    left.remove_prefix(static_cast<std::size_t>(size) + 16);
    ++records;
  }
  return {{"records", records},
          {"complete", left.empty()},
          {"show", "tensorboard --logdir " + path.parent_path().string()}};
}

bool is_page(const fs::path& path) {
  return path.extension() == ".html" && starts_with(path, "<!DOCTYPE html>");
}

Json describe_page(const fs::path& path) {
  const MappedFile file(path);
  const std::string_view text = file.bytes();
  const std::size_t begin = text.find("<title>");
  const std::size_t end = text.find("</title>", begin);
  Json facts = Json::object();
  if (begin != std::string_view::npos && end != std::string_view::npos) {
    facts["title"] = std::string(text.substr(begin + 7, end - begin - 7));
  }
  return facts;
}

bool is_results_csv(const fs::path& path) {
  return path.extension() == ".csv" && starts_with(path, "name,member,");
}

Json describe_csv(const fs::path& path) {
  const std::string text = read_file(path);
  const auto lines = std::count(text.begin(), text.end(), '\n');
  const auto commas =
      std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(text.find('\n')), ',');
  return {{"runs", lines - 1}, {"columns", commas + 1}};
}

}  // namespace

std::optional<FoundKind> file_kind(const fs::path& path) {
  static const std::vector<FileRow> rows = {
      {"labelled activations", [](const fs::path& path) { return holds(path, {"train_x"}); },
       describe_labelled},
      {"judge of an activation store", is_judge_file, describe_judge},
      {"autoencoder", [](const fs::path& path) { return what_is_at(path) == PathKind::kForeign; },
       describe_autoencoder},
      {"ground truth of a synthetic world",
       [](const fs::path& path) {
         return holds(path, {"values", "indices", "offsets"});
       },
       describe_tensors},
      {"dictionary of a synthetic world",
       [](const fs::path& path) {
         return holds(path, {"features", "bias", "rates"});
       },
       describe_tensors},
      {"weights of an autoencoder",
       [](const fs::path& path) {
         return holds(path, {"W_enc", "W_dec"});
       },
       describe_tensors},
      {"activation store", is_one_file_store, describe_one_file_store},
      {"tensors", [](const fs::path& path) { return path.extension() == ".safetensors"; },
       describe_tensors},
      {"array", [](const fs::path& path) { return starts_with(path, "\x93NUMPY"); },
       describe_array},
      {"arrays",
       [](const fs::path& path) { return path.extension() == ".npz" && starts_with(path, "PK"); },
       describe_arrays},
      {"archive", [](const fs::path& path) { return starts_with(path, "PK\x03\x04"); },
       describe_archive},
      {"log of a run", [](const fs::path& path) { return path.filename() == "metrics.jsonl"; },
       describe_log},
      {"log for TensorBoard", is_event_file, describe_events},
      {"results of a comparison (CSV)", is_results_csv, describe_csv},
      {"page", is_page, describe_page},
  };
  return first_kind(rows, path, path);
}

}  // namespace sae
