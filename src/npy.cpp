#include "npy.h"

#include <cctype>
#include <limits>
#include <set>
#include <vector>

#include "sae/error.h"
#include "safetensors_header.h"

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
  std::size_t size = 0;
  for (std::size_t i = std::min(begin, file.size()); i-- > 8;) {
    size = size << 8 | static_cast<unsigned char>(file[i]);
  }
  if (file.size() < begin || size > file.size() - begin) {
    throw DataError(place + ": npy header is longer than the file; is it truncated?");
  }
  return {begin, begin + size};
}

}  // namespace

bool is_npy(std::string_view file) { return file.starts_with(kMagic); }

NpyHeader parse_npy_header(std::string_view file, const std::string& place) {
  const auto [begin, end] = text_range(file, place);
  LiteralReader literal(file.substr(begin, end - begin), place);
  literal.read();
  NpyHeader header{.dtype = "", .rows = 0, .columns = 0, .begin = end};
  for (const auto& [descr, dtype] :
       {std::pair{"<f2", "F16"}, std::pair{"<f4", "F32"}, std::pair{"<f8", "F64"}}) {
    if (literal.descr == descr) header.dtype = dtype;
  }
  if (header.dtype.empty()) {
    throw DataError(place + ": array of '" + literal.descr + "', expected '<f2', '<f4' or '<f8'");
  }
  if (literal.shape.size() != 2) {
    throw DataError(place + ": array is " + describe_tensor(header.dtype, literal.shape) +
                    ", expected two dimensions");
  }
  if (literal.fortran_order) {
    throw DataError(place + ": array is in Fortran order; save numpy.ascontiguousarray of it");
  }
  header.rows = literal.shape[0];
  header.columns = literal.shape[1];
  const std::uint64_t element = safetensors_element_size(header.dtype);
  const std::uint64_t bytes = file.size() - end;
  const auto rows = static_cast<std::uint64_t>(header.rows);
  const auto columns = static_cast<std::uint64_t>(header.columns);
  // Dividing, since the product may overflow.
  const bool fits = columns == 0 || rows == 0
                        ? bytes == 0
                        : bytes / element / columns == rows && bytes == rows * columns * element;
  if (!fits) {
    throw DataError(place + ": array is " + describe_tensor(header.dtype, literal.shape) +
                    ", but the file has " + std::to_string(bytes) + " bytes of data");
  }
  return header;
}

}  // namespace sae
