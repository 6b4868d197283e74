#include "formats/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <utility>

#include "base/bytes.h"
#include "sae/base/error.h"

namespace sae {
namespace {

constexpr std::uint64_t kLargestHeader = 100'000'000;  // the format's own limit

/// Accepts exactly {name: {"dtype": string, "shape": [n...], "data_offsets": [begin, end]},
/// "__metadata__": {string: string}} and stops at the first event that does not fit, so that a
/// hostile header costs neither memory nor depth.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  SafetensorsHeader header;
  std::string problem;

  bool null() override { return fail("null is not expected"); }
  bool boolean(bool) override { return fail("a boolean is not expected"); }
  bool number_integer(number_integer_t) override { return fail("a negative number"); }
  bool number_float(number_float_t, const string_t& text) override {
    return fail("number " + text + " is not an integer");
  }
  bool binary(binary_t&) override { return fail("binary is not expected"); }

  bool number_unsigned(number_unsigned_t value) override {
    constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (value > kLargest) return fail("number " + std::to_string(value) + " is too large");
    if (place_ == Place::kShape) {
      if (entry_.shape.size() == kMostDimensions) return fail("too many dimensions");
      entry_.shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (place_ == Place::kOffsets && offsets_.size() < 2) {
      offsets_.push_back(value);
      return true;
    }
    return fail("a number is not expected");
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) {
      header.metadata[key_] = std::move(value);
      return true;
    }
    if (place_ != Place::kEntry || key_ != "dtype") return fail("a string is not expected");
    if (safetensors_element_size(value) == 0) return fail("unknown dtype '" + value + "'");
    entry_.dtype = std::move(value);
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::kStart) return go(Place::kTop);
    if (place_ != Place::kTop) return fail("an object is not expected");
    if (key_ == "__metadata__") return go(Place::kMetadata);
    entry_ = {};
    entry_.name = key_;
    offsets_.clear();
    seen_.clear();
    return go(Place::kEntry);
  }

  bool key(string_t& value) override {
    key_ = std::move(value);
    if (place_ == Place::kTop) {
      return names_.insert(key_).second || fail("name '" + key_ + "' appears twice");
    }
    if (place_ == Place::kMetadata) {
      return !header.metadata.contains(key_) || fail("metadata '" + key_ + "' appears twice");
    }
    if (key_ != "dtype" && key_ != "shape" && key_ != "data_offsets") return fail("unknown key");
    return seen_.insert(key_).second || fail("key appears twice");
  }

  bool end_object() override {
    if (place_ == Place::kTop) return go(Place::kEnd);
    if (place_ == Place::kEntry) {
      if (seen_.size() < 3) return fail("needs dtype, shape and data_offsets");
      entry_.begin = offsets_[0];
      entry_.end = offsets_[1];
      header.entries.push_back(std::move(entry_));
    }
    return go(Place::kTop);
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::kEntry && key_ == "shape") return go(Place::kShape);
    if (place_ == Place::kEntry && key_ == "data_offsets") return go(Place::kOffsets);
    return fail("an array is not expected");
  }

  bool end_array() override {
    if (place_ == Place::kOffsets && offsets_.size() != 2) return fail("needs two data_offsets");
    return go(Place::kEntry);
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    problem = "not valid JSON at byte " + std::to_string(position);
    return false;
  }

 private:
  enum class Place { kStart, kTop, kMetadata, kEntry, kShape, kOffsets, kEnd };
  static constexpr std::size_t kMostDimensions = 64;

  bool go(Place place) {
    place_ = place;
    return true;
  }

  bool fail(const std::string& what) {
    const bool in_entry = place_ != Place::kStart && place_ != Place::kTop &&
                          place_ != Place::kMetadata && place_ != Place::kEnd;
    problem = in_entry ? "tensor " + entry_.name + ", " + key_ + ": " + what : what;
    // Names come from the file; the message must stay one line.
    for (char& c : problem) c = static_cast<unsigned char>(c) < ' ' ? '?' : c;
    return false;
  }

  Place place_ = Place::kStart;
  std::string key_;
  SafetensorsEntry entry_;
  std::vector<std::uint64_t> offsets_;
  std::set<std::string> names_;
  std::set<std::string> seen_;
};

/// Bytes that shape and dtype ask for; nothing if that does not fit 63 bits.
bool byte_count(const SafetensorsEntry& entry, std::uint64_t& bytes) {
  constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  bytes = safetensors_element_size(entry.dtype);
  const bool empty = std::find(entry.shape.begin(), entry.shape.end(), 0) != entry.shape.end();
  for (const std::int64_t size : entry.shape) {
    // The elements of an empty tensor are none, but its strides must fit all the same.
    const auto factor = static_cast<std::uint64_t>(std::max<std::int64_t>(size, 1));
    if (bytes > kLargest / factor) return false;
    bytes *= factor;
  }
  if (empty) bytes = 0;
  return true;
}

/// Entries in the order of their bytes must tile the data exactly.
void check_layout(SafetensorsHeader& header, std::uint64_t start, std::uint64_t file_size,
                  const std::string& place) {
  auto& entries = header.entries;
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  const std::uint64_t available = file_size - start;
  std::uint64_t covered = 0;
  for (SafetensorsEntry& entry : entries) {
    const std::string tensor = place + ": tensor " + entry.name + " ";
    const std::string range =
        "[" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + ")";
    std::uint64_t bytes = 0;
    if (entry.begin > entry.end) throw DataError(tensor + "has the byte range " + range);
    if (entry.end > available) {
      throw DataError(tensor + "needs bytes " + range + ", the file has " +
                      std::to_string(available) + "; is it truncated?");
    }
    if (!byte_count(entry, bytes) || bytes != entry.end - entry.begin) {
      throw DataError(tensor + "is " + describe_tensor(entry.dtype, entry.shape) +
                      ", but its byte range " + range + " holds " +
                      std::to_string(entry.end - entry.begin) + " bytes");
    }
    if (entry.begin != covered) {
      throw DataError(tensor + "starts at byte " + std::to_string(entry.begin) +
                      (entry.begin < covered ? ", inside the tensor before it, which ends at "
                                             : ", leaving a hole after byte ") +
                      std::to_string(covered));
    }
    covered = entry.end;
    entry.begin += start;
    entry.end += start;
  }
  if (covered != available) {
    throw DataError(place + ": " + std::to_string(available - covered) +
                    " bytes after the last tensor");
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view file, const std::string& place) {
  if (file.size() < 8) {
    throw DataError(place + ": " + std::to_string(file.size()) +
                    " bytes are too few for a safetensors file");
  }
  const std::uint64_t size = number_at(file, 0, 8);
  if (size > kLargestHeader) {
    throw DataError(place + ": not a safetensors file: header of " + std::to_string(size) +
                    " bytes, at most " + std::to_string(kLargestHeader) + " allowed");
  }
  if (size > file.size() - 8) {
    throw DataError(place + ": header of " + std::to_string(size) + " bytes, the file has " +
                    std::to_string(file.size() - 8) + "; is it truncated?");
  }
  HeaderReader reader;
  const std::string_view json = file.substr(8, size);
  if (json.find('\0') != json.npos) {  // the JSON parser would take it for the end
    throw DataError(place + ": safetensors header: contains a NUL byte");
  }
  if (!nlohmann::json::sax_parse(json, &reader)) {
    throw DataError(place + ": safetensors header: " + reader.problem);
  }
  check_layout(reader.header, 8 + size, file.size(), place);
  return std::move(reader.header);
}

std::string safetensors_header_bytes(const std::vector<SafetensorsEntry>& entries,
                                     const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  for (const SafetensorsEntry& entry : entries) {
    header[entry.name] = {
        {"dtype", entry.dtype}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
  }
  std::string json = header.dump();
  json.append((64 - (8 + json.size()) % 64) % 64, ' ');
  std::string bytes;
  put_number(bytes, json.size(), 8);
  return bytes + json;
}

std::uint64_t safetensors_element_size(std::string_view dtype) {
  static constexpr std::pair<std::string_view, std::uint64_t> kSizes[] = {
      {"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I16", 2},
      {"I8", 1},  {"U64", 8}, {"U32", 4}, {"U16", 2},  {"U8", 1},  {"BOOL", 1}};
  for (const auto& [name, size] : kSizes) {
    if (name == dtype) return size;
  }
  return 0;
}

std::string describe_tensor(std::string_view dtype, const std::vector<std::int64_t>& shape) {
  std::string text = std::string(dtype) + " [";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i > 0 ? ", " : "") + (shape[i] < 0 ? std::string("*") : std::to_string(shape[i]));
  }
  return text + "]";
}

}  // namespace sae
