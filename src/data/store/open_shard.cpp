#include <algorithm>
#include <memory>
#include <utility>

#include "data/store/array_views.h"
#include "data/store/shard.h"
#include "formats/npy.h"
#include "formats/safetensors_header.h"
#include "sae/base/error.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

const ArrayView* named(const ArraysOfFile& found, std::string_view name) {
  const auto at = std::find_if(found.arrays.begin(), found.arrays.end(),
                               [&](const ArrayView& array) { return array.name == name; });
  return at == found.arrays.end() ? nullptr : &*at;
}

bool is_float(std::string_view dtype) {
  return dtype == "F32" || dtype == "F16" || dtype == "BF16" || dtype == "F64";
}

void set_activations(Shard& shard, const ArrayView& array) {
  if (!is_float(array.dtype) || array.shape.size() != 2 || array.shape[1] < 1) {
    throw DataError(shard.file->path().string() + ": " + array.called() + " is " +
                    describe_tensor(array.dtype, array.shape) + ", expected F32, F16 or BF16 " +
                    describe_tensor("", {-1, -1}).substr(1));
  }
  shard.dtype = array.dtype;
  shard.rows = array.shape[0];
  shard.width = array.shape[1];
  shard.activations = array.bytes;
}

IdColumn column_of(const std::shared_ptr<const MappedFile>& file, const ArrayView& array,
                   std::int64_t rows) {
  if (!is_integer(array.dtype) || array.shape != std::vector<std::int64_t>{rows}) {
    throw DataError(file->path().string() + ": " + array.called() + " is " +
                    describe_tensor(array.dtype, array.shape) + ", expected " +
                    describe_tensor("I32", {rows}));
  }
  return {.file = file, .dtype = array.dtype, .bytes = array.bytes};
}

void set_columns(Shard& shard, const ArraysOfFile& found) {
  if (const ArrayView* tokens = named(found, "tokens")) {
    shard.tokens = column_of(shard.file, *tokens, shard.rows);
  }
  if (const ArrayView* context = named(found, "context")) {
    shard.context = column_of(shard.file, *context, shard.rows);
  }
}

/// acts.tokens.npy of acts.npy and "tokens"; empty if there is none.
fs::path beside(const fs::path& path, const std::string& name) {
  fs::path only;
  for (const char* suffix : {".npy", ".pt", ".safetensors"}) {
    const fs::path file = path.parent_path() / (path.stem().string() + "." + name + suffix);
    std::error_code error;
    if (file == path || !fs::exists(file, error)) continue;
    if (!only.empty()) {
      throw DataError(file.string() + ": is there beside " + only.filename().string() +
                      ", expected one file of " + name);
    }
    only = file;
  }
  return only;
}

/// Deals the ids in a file beside the activations out to their shards.
void add_column(std::vector<Shard>& shards, IdColumn Shard::*column, const std::string& name,
                bool verify) {
  const fs::path path = beside(shards[0].file->path(), name);
  if (path.empty()) return;
  if (!(shards[0].*column).empty()) {
    throw DataError(path.string() + ": " + shards[0].file->path().filename().string() + " holds " +
                    name + " itself; remove one of them");
  }
  const auto file = std::make_shared<const MappedFile>(path);
  const ArraysOfFile found = arrays_in(*file, verify);
  const ArrayView* array = found.arrays.size() == 1 ? found.arrays.data() : named(found, name);
  if (array == nullptr) {
    throw DataError(path.string() + ": has " + std::to_string(found.arrays.size()) +
                    " tensors, expected one, or one named " + name);
  }
  std::int64_t rows = 0;
  for (const Shard& shard : shards) rows += shard.rows;
  const IdColumn all = column_of(file, *array, rows);
  std::int64_t first = 0;
  for (Shard& shard : shards) {
    shard.*column = all.part(first, shard.rows);
    first += shard.rows;
  }
}

Shard shard_from(const std::shared_ptr<const MappedFile>& file, const ArrayView& array) {
  Shard shard;
  shard.file = file;
  set_activations(shard, array);
  return shard;
}

/// Every tensor of a list; all are of one kind.
std::vector<Shard> listed_shards(const std::shared_ptr<const MappedFile>& file,
                                 const ArraysOfFile& found) {
  std::vector<Shard> shards;
  for (const ArrayView& array : found.arrays) {
    Shard& shard = shards.emplace_back(shard_from(file, array));
    if (found.arrays.size() > 1) shard.part = array.called();
    if (shard.width != shards[0].width || shard.dtype != shards[0].dtype) {
      throw DataError(shard.name() + " is " + describe_tensor(array.dtype, array.shape) +
                      ", expected " + describe_tensor(shards[0].dtype, {-1, shards[0].width}) +
                      " as the first");
    }
  }
  return shards;
}

std::vector<Shard> shards_of(const std::shared_ptr<const MappedFile>& file, bool verify) {
  const std::string place = file->path().string();
  if (is_npy(file->bytes())) {  // for its own messages
    if (parse_npy_header(file->bytes(), place).columns < 1) {
      throw DataError(place + ": array has no columns");
    }
  }
  const ArraysOfFile found = arrays_in(*file, verify);
  if (found.listed && !found.arrays.empty()) return listed_shards(file, found);
  const ArrayView* activations = named(found, "activations");
  if (activations == nullptr && found.arrays.size() != 1) {
    throw DataError(place + ": has " + std::to_string(found.arrays.size()) +
                    " tensors, expected one, or one named activations");
  }
  Shard shard = shard_from(file, activations != nullptr ? *activations : found.arrays[0]);
  if (activations != nullptr) set_columns(shard, found);
  return {std::move(shard)};
}

}  // namespace

Shard open_shard(const fs::path& path) {
  Shard shard;
  shard.file = std::make_shared<const MappedFile>(path);
  const ArraysOfFile found = safetensors_arrays(*shard.file);
  for (const ArrayView& array : found.arrays) {
    if (array.name != "activations" && array.name != "tokens" && array.name != "context") {
      throw DataError(shard.name() + ": unexpected tensor " + array.name);
    }
  }
  const ArrayView* activations = named(found, "activations");
  if (activations == nullptr) throw DataError(shard.name() + ": no tensor activations");
  set_activations(shard, *activations);
  set_columns(shard, found);
  return shard;
}

std::vector<Shard> open_bare_file(const fs::path& path, bool verify) {
  std::vector<Shard> shards = shards_of(std::make_shared<const MappedFile>(path), verify);
  add_column(shards, &Shard::tokens, "tokens", verify);
  add_column(shards, &Shard::context, "context", verify);
  return shards;
}

}  // namespace sae
