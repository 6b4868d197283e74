#include "data/store/shard.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "data/store/file_facts.h"
#include "sae/base/sha256.h"

namespace sae {

std::string numbered_file(const std::string& stem, std::int64_t number) {
  const std::string digits = std::to_string(number);
  return stem + "-" + std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits +
         ".safetensors";
}

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

std::int64_t first_bad_row(std::span<const Shard> shards) {
  std::vector<float> row(static_cast<std::size_t>(shards[0].width));
  std::int64_t first = 0;
  for (const Shard& shard : shards) {
    for (std::int64_t i = 0; i < shard.rows; ++i) {
      if (!shard.read_row(i, row.data())) return first + i;
    }
    first += shard.rows;
  }
  return -1;
}

std::string bare_digest(const Shard& shard) {
  std::string digest = content_digest(*shard.file);
  Sha256 all;
  all.update(digest + "\n");
  bool alone = true;
  for (const IdColumn* column : {&shard.tokens, &shard.context}) {
    if (column->empty() || column->file == shard.file) continue;
    all.update(content_digest(*column->file) + "\n");
    alone = false;
  }
  return alone ? digest : "sha256:" + all.hex();
}

}  // namespace sae
