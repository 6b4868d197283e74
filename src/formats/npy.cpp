#include "formats/npy.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "formats/safetensors_header.h"
#include "sae/base/error.h"

namespace sae {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

/// Reads the header's text, the Python literal
/// {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
class LiteralReader {
 public:
  LiteralReader(std::string_view text, const std::string& place) : text_(text), place_(place) {}

  void read() {
    expect('{');
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      if (!seen_.insert(key).second) fail("key '" + key + "' appears twice");
      if (key == "descr") {
        descr = string();
      } else if (key == "fortran_order") {
        fortran_order = boolean();
      } else if (key == "shape") {
        shape = tuple();
      } else {
        fail("unknown key '" + key + "'");
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (at_ != text_.size()) fail("text after the header");
    if (seen_.size() != 3) fail("needs descr, fortran_order and shape");
  }

  std::string descr;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(place_ + ": npy header: " + what);
  }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }

  bool accept(char wanted) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }

  void expect(char wanted) {
    if (!accept(wanted)) fail("expected '" + std::string(1, wanted) + "'");
  }

  std::string string() {
    const char quote = accept('"') ? '"' : '\'';
    if (quote == '\'' && !accept('\'')) fail("expected a plain string");
    std::string value;
    while (at_ < text_.size() && text_[at_] != quote) {
      const char c = text_[at_++];
      if (c < ' ' || c > '~' || c == '\\') fail("expected a plain string");
      value.push_back(c);
    }
    if (at_++ >= text_.size()) fail("a string without end");
    return value;
  }

  bool boolean() {
    skip_space();
    for (const std::string_view word : {"True", "False"}) {
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return word == "True";
      }
    }
    fail("fortran_order: expected True or False");
  }

  std::int64_t integer() {
    skip_space();
    const std::size_t start = at_;
    std::int64_t value = 0;
    while (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])) != 0) {
      const int digit = text_[at_++] - '0';
      if (value > (std::numeric_limits<std::int64_t>::max() - digit) / 10) {
        fail("shape: number too large");
      }
      value = 10 * value + digit;
    }
    if (at_ == start) fail("shape: expected a number");
    return value;
  }

  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> values;
    expect('(');
    while (!accept(')')) {
      if (values.size() == 64) fail("shape: too many dimensions");
      values.push_back(integer());
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return values;
  }

  std::string_view text_;
  const std::string& place_;
  std::size_t at_ = 0;
  std::set<std::string> seen_;
};

/// Bytes [begin, end) of the header's text.
std::pair<std::size_t, std::size_t> text_range(std::string_view file, const std::string& place) {
  if (!is_npy(file) || file.size() < 10) throw DataError(place + ": not a npy file");
  const int version = static_cast<unsigned char>(file[6]);
  if (version < 1 || version > 3 || file[7] != 0) {
    throw DataError(place + ": npy version " + std::to_string(version) + "." +
                    std::to_string(static_cast<unsigned char>(file[7])) + ", expected 1 to 3");
  }
  const std::size_t begin = version == 1 ? 10 : 12;
  const std::uint64_t size = file.size() < begin ? 0 : number_at(file, 8, begin - 8);
  if (file.size() < begin || size > file.size() - begin) {
    throw DataError(place + ": npy header is longer than the file; is it truncated?");
  }
  return {begin, begin + size};
}

/// The names of numpy and of safetensors for one type.
struct TypeName {
  std::string_view descr;
  std::string_view dtype;
};

constexpr TypeName kTypes[] = {{"<f2", "F16"}, {"<f4", "F32"}, {"<f8", "F64"}, {"|i1", "I8"},
                               {"<i2", "I16"}, {"<i4", "I32"}, {"<i8", "I64"}, {"|u1", "U8"},
                               {"<u2", "U16"}, {"<u4", "U32"}, {"<u8", "U64"}, {"|b1", "BOOL"}};

/// Empty if there is none.
std::string dtype_of(std::string_view descr) {
  for (const TypeName& type : kTypes) {
    if (type.descr == descr) return std::string(type.dtype);
  }
  return {};
}

/// What the header says, before any of it is checked.
struct Literal {
  std::string descr;
  NpyArray array;
};

Literal read_literal(std::string_view file, const std::string& place) {
  const auto [begin, end] = text_range(file, place);
  LiteralReader literal(file.substr(begin, end - begin), place);
  literal.read();
  return {literal.descr, {dtype_of(literal.descr), literal.shape, literal.fortran_order, end}};
}

void check_size(const NpyArray& array, std::string_view file, const std::string& place) {
  constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const std::uint64_t bytes = file.size() - array.begin;
  std::uint64_t wanted = safetensors_element_size(array.dtype);
  bool fits = true;
  for (const std::int64_t size : array.shape) {
    // An array of no elements must have strides that fit all the same.
    const auto factor = static_cast<std::uint64_t>(std::max<std::int64_t>(size, 1));
    fits = fits && wanted <= kLargest / factor;
    wanted *= fits ? factor : 1;
  }
  if (std::find(array.shape.begin(), array.shape.end(), 0) != array.shape.end()) wanted = 0;
  if (!fits || wanted != bytes) {
    throw DataError(place + ": array is " + describe_tensor(array.dtype, array.shape) +
                    ", but the file has " + std::to_string(bytes) + " bytes of data");
  }
}

}  // namespace

bool is_npy(std::string_view file) { return file.starts_with(kMagic); }

NpyArray parse_npy_array(std::string_view file, const std::string& place) {
  auto [descr, array] = read_literal(file, place);
  if (descr.find('O') != descr.npos) {
    throw DataError(place + ": array of Python objects, which are a pickle; expected numbers");
  }
  if (array.dtype.empty()) {
    throw DataError(place + ": array of '" + descr +
                    "', expected little-endian floats, integers or '|b1'" +
                    (descr.find('V') == descr.npos ? "" : "; save bfloat16 as float32"));
  }
  check_size(array, file, place);
  return array;
}

NpyHeader parse_npy_header(std::string_view file, const std::string& place) {
  const auto [descr, array] = read_literal(file, place);
  if (array.dtype.empty() || array.dtype[0] != 'F') {
    throw DataError(place + ": array of '" + descr + "', expected '<f2', '<f4' or '<f8'");
  }
  if (array.shape.size() != 2) {
    throw DataError(place + ": array is " + describe_tensor(array.dtype, array.shape) +
                    ", expected two dimensions");
  }
  if (array.fortran_order) {
    throw DataError(place + ": array is in Fortran order; save numpy.ascontiguousarray of it");
  }
  check_size(array, file, place);
  return {array.dtype, array.shape[0], array.shape[1], array.begin};
}

std::string npy_header(const std::string& dtype, const std::vector<std::int64_t>& shape) {
  std::string_view descr;
  for (const TypeName& type : kTypes) {
    if (type.dtype == dtype) descr = type.descr;
  }
  if (descr.empty()) throw std::invalid_argument("npy_header: no npy type for " + dtype);
  std::string text = "{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': (";
  for (const std::int64_t size : shape) text += std::to_string(size) + ", ";
  if (shape.size() > 1) text.resize(text.size() - 2);
  text += "), }";
  constexpr std::size_t kBefore = 10;  // magic, version, size of the text
  text.append(63 - (kBefore + text.size()) % 64, ' ');
  text += '\n';
  std::string header(kMagic);
  header += '\x01';
  header += '\0';
  header += static_cast<char>(text.size() & 0xffU);
  header += static_cast<char>(text.size() >> 8);
  return header + text;
}

}  // namespace sae
