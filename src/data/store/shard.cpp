#include "data/store/shard.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "formats/npy.h"
#include "formats/safetensors_header.h"
#include "sae/base/error.h"

namespace sae {

std::string numbered_file(const std::string& stem, std::int64_t number) {
  const std::string digits = std::to_string(number);
  return stem + "-" + std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits +
         ".safetensors";
}

namespace fs = std::filesystem;

namespace {

constexpr std::uint32_t kMagnitude = 0x7fffffff;
constexpr std::uint32_t kInfinity = 0x7f800000;

// Plain loops over bits instead of ATen's conversions: compilers vectorise them, and a background
// thread that calls ATen would start a second pool of threads.

float from_half(std::uint16_t bits) {
  // The exponent moves by 2^112 in one exact multiplication, subnormals included.
  const std::uint32_t shifted = std::uint32_t{bits & 0x7fffU} << 13;
  const float scaled = std::bit_cast<float>(shifted) * 0x1p112F;
  const std::uint32_t magnitude =
      (bits & 0x7c00U) == 0x7c00U ? shifted | kInfinity : std::bit_cast<std::uint32_t>(scaled);
  return std::bit_cast<float>(magnitude | std::uint32_t{bits & 0x8000U} << 16);
}

float from_bfloat(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

template <class Element, class Convert>
void convert(const char* from, std::size_t count, float* to, Convert to_float) {
  for (std::size_t i = 0; i < count; ++i) {
    Element element;
    std::memcpy(&element, from + i * sizeof element, sizeof element);  // may be unaligned
    to[i] = to_float(element);
  }
}

bool all_finite(const float* values, std::size_t count) {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::bit_cast<std::uint32_t>(values[i]) & kMagnitude);
  }
  return largest < kInfinity;
}

/// All of `count` 16-bit floats whose exponent is the bits `exponent`.
bool all_finite(const std::uint16_t* values, std::size_t count, std::uint16_t exponent) {
  std::uint16_t largest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    largest = std::max<std::uint16_t>(largest, values[i] & 0x7fffU);
  }
  return largest < exponent;
}

const SafetensorsEntry* find(const SafetensorsHeader& header, std::string_view name) {
  for (const auto& entry : header.entries) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

std::string_view bytes_of(const MappedFile& file, const SafetensorsEntry& entry) {
  return file.bytes().substr(entry.begin, entry.end - entry.begin);
}

bool is_float(std::string_view dtype) {
  return dtype == "F32" || dtype == "F16" || dtype == "BF16" || dtype == "F64";
}

void set_activations(Shard& shard, const SafetensorsEntry& entry) {
  if (!is_float(entry.dtype) || entry.shape.size() != 2 || entry.shape[1] < 1) {
    throw DataError(shard.name() + ": tensor " + entry.name + " is " +
                    describe_tensor(entry.dtype, entry.shape) + ", expected F32, F16 or BF16 " +
                    describe_tensor("", {-1, -1}).substr(1));
  }
  shard.dtype = entry.dtype;
  shard.rows = entry.shape[0];
  shard.width = entry.shape[1];
  shard.activations = bytes_of(*shard.file, entry);
}

std::string_view column(const Shard& shard, const SafetensorsHeader& header,
                        std::string_view name) {
  const SafetensorsEntry* entry = find(header, name);
  if (entry == nullptr) return {};
  if (entry->dtype != "I32" || entry->shape != std::vector<std::int64_t>{shard.rows}) {
    throw DataError(shard.name() + ": tensor " + entry->name + " is " +
                    describe_tensor(entry->dtype, entry->shape) + ", expected " +
                    describe_tensor("I32", {shard.rows}));
  }
  return bytes_of(*shard.file, *entry);
}

void set_columns(Shard& shard, const SafetensorsHeader& header) {
  shard.tokens = column(shard, header, "tokens");
  shard.context = column(shard, header, "context");
}

Shard mapped(const fs::path& path) {
  Shard shard;
  shard.file = std::make_shared<const MappedFile>(path);
  return shard;
}

}  // namespace

bool Shard::read_row(std::int64_t row, float* out) const {
  const auto count = static_cast<std::size_t>(width);
  const std::size_t size = activations.size() / static_cast<std::size_t>(rows);
  const char* from = activations.data() + static_cast<std::size_t>(row) * size;
  if (dtype == "F32") {
    std::memcpy(out, from, size);
  } else if (dtype == "BF16") {
    convert<std::uint16_t>(from, count, out, from_bfloat);
  } else if (dtype == "F16") {
    convert<std::uint16_t>(from, count, out, from_half);
  } else {
    convert<double>(from, count, out, [](double value) { return static_cast<float>(value); });
  }
  return all_finite(out, count);
}

at::ScalarType Shard::stored_type() const {
  if (dtype == "BF16") return at::kBFloat16;
  return dtype == "F16" ? at::kHalf : at::kFloat;
}

bool Shard::copy_row(std::int64_t row, void* out) const {
  if (stored_type() == at::kFloat) return read_row(row, static_cast<float*>(out));
  const auto count = static_cast<std::size_t>(width);
  std::memcpy(out, activations.data() + static_cast<std::size_t>(row) * 2 * count, 2 * count);
  return all_finite(static_cast<const std::uint16_t*>(out), count,
                    dtype == "BF16" ? 0x7f80U : 0x7c00U);
}

void Shard::will_need(std::int64_t row, std::int64_t count) const {
  const std::size_t size = activations.size() / static_cast<std::size_t>(rows);
  const auto begin = static_cast<std::size_t>(activations.data() - file->bytes().data());
  file->will_need(begin + static_cast<std::size_t>(row) * size,
                  static_cast<std::size_t>(count) * size);
}

Shard open_shard(const fs::path& path) {
  Shard shard = mapped(path);
  const SafetensorsHeader header = parse_safetensors_header(shard.file->bytes(), shard.name());
  for (const auto& entry : header.entries) {
    if (entry.name != "activations" && entry.name != "tokens" && entry.name != "context") {
      throw DataError(shard.name() + ": unexpected tensor " + entry.name);
    }
  }
  const SafetensorsEntry* activations = find(header, "activations");
  if (activations == nullptr) throw DataError(shard.name() + ": no tensor activations");
  set_activations(shard, *activations);
  set_columns(shard, header);
  return shard;
}

Shard open_bare_file(const fs::path& path) {
  Shard shard = mapped(path);
  if (is_npy(shard.file->bytes())) {
    const NpyHeader header = parse_npy_header(shard.file->bytes(), shard.name());
    if (header.columns < 1) throw DataError(shard.name() + ": array has no columns");
    shard.dtype = header.dtype;
    shard.rows = header.rows;
    shard.width = header.columns;
    shard.activations = shard.file->bytes().substr(header.begin);
    return shard;
  }
  const SafetensorsHeader header = parse_safetensors_header(shard.file->bytes(), shard.name());
  if (const SafetensorsEntry* entry = find(header, "activations"); entry != nullptr) {
    set_activations(shard, *entry);
    set_columns(shard, header);
  } else if (header.entries.size() == 1) {
    set_activations(shard, header.entries[0]);
  } else {
    throw DataError(shard.name() + ": has " + std::to_string(header.entries.size()) +
                    " tensors, expected one, or one named activations");
  }
  return shard;
}

}  // namespace sae
