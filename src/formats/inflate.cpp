#include "formats/inflate.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "sae/base/error.h"

namespace sae {
namespace {

constexpr std::uint64_t kLargestRatio = 1032;  // a match of 258 bytes takes at least two bits
constexpr int kLongestCode = 15;

struct BrokenStream {
  const char* what;
};

/// Bits of the stream, the lowest of each byte first.
class BitReader {
 public:
  explicit BitReader(std::string_view data) : data_(data) {}

  /// The next `count` bits without taking them; zeros after the end.
  std::uint32_t peek(int count) {
    while (available_ < count && at_ < data_.size()) {
      buffer_ |= std::uint64_t{static_cast<unsigned char>(data_[at_++])} << available_;
      available_ += 8;
    }
    return static_cast<std::uint32_t>(buffer_ & ((std::uint64_t{1} << count) - 1));
  }

  void skip(int count) {
    if (count > available_) throw BrokenStream{"ends too early"};
    buffer_ >>= count;
    available_ -= count;
  }

  std::uint32_t take(int count) {
    const std::uint32_t bits = peek(count);
    skip(count);
    return bits;
  }

  /// From the next whole byte on.
  std::string_view take_bytes(std::size_t count) {
    skip(available_ % 8);
    at_ -= static_cast<std::size_t>(available_ / 8);
    buffer_ = 0;
    available_ = 0;
    if (count > data_.size() - at_) throw BrokenStream{"ends too early"};
    at_ += count;
    return data_.substr(at_ - count, count);
  }

  bool at_end() const { return at_ == data_.size() && available_ < 8; }

 private:
  std::string_view data_;
  std::size_t at_ = 0;
  std::uint64_t buffer_ = 0;
  int available_ = 0;
};

/// A prefix code (RFC 1951, section 3.2.2) as one table that is indexed by the next bits.
class PrefixCode {
 public:
  explicit PrefixCode(const std::vector<int>& lengths) {
    std::array<int, kLongestCode + 1> count{};
    for (const int length : lengths) ++count[static_cast<std::size_t>(length)];
    count[0] = 0;
    int left = 1;
    std::array<std::uint32_t, kLongestCode + 2> next{};
    for (std::size_t length = 1; length <= kLongestCode; ++length) {
      left = 2 * left - count[length];
      if (left < 0) throw BrokenStream{"has a code with too many symbols"};
      next[length + 1] = (next[length] + static_cast<std::uint32_t>(count[length])) << 1;
      if (count[length] > 0) bits_ = static_cast<int>(length);
    }
    // An incomplete code is legal for a single symbol only; entries that it leaves open stay 0.
    if (left > 0 && bits_ > 1) throw BrokenStream{"has an incomplete code"};
    table_.assign(std::size_t{1} << bits_, 0);
    for (std::size_t symbol = 0; symbol < lengths.size(); ++symbol) {
      const int length = lengths[symbol];
      if (length > 0) enter(next[static_cast<std::size_t>(length)]++, length, symbol);
    }
  }

  int next(BitReader& in) const {
    const std::uint16_t entry = table_[in.peek(bits_)];
    if (entry == 0) throw BrokenStream{"has a code that stands for nothing"};
    in.skip(entry & 15);
    return entry >> 4;
  }

 private:
  void enter(std::uint32_t code, int length, std::size_t symbol) {
    std::size_t reversed = 0;
    for (int bit = 0; bit < length; ++bit) reversed = reversed << 1 | (code >> bit & 1U);
    for (std::size_t i = reversed; i < table_.size(); i += std::size_t{1} << length) {
      table_[i] = static_cast<std::uint16_t>(symbol << 4 | static_cast<std::size_t>(length));
    }
  }

  int bits_ = 0;
  std::vector<std::uint16_t> table_;  // symbol * 16 + length, 0 for no code
};

/// The symbols after 256 stand for lengths, or distances: a base and so many further bits.
struct Extra {
  int base;
  int bits;
};

Extra length_of(int symbol) {  // 257 to 285
  if (symbol == 285) return {258, 0};
  const int index = symbol - 257;
  const int bits = index < 8 ? 0 : index / 4 - 1;
  return {bits == 0 ? 3 + index : 3 + ((4 + index % 4) << bits), bits};
}

Extra distance_of(int symbol) {  // 0 to 29
  const int bits = symbol < 4 ? 0 : symbol / 2 - 1;
  return {bits == 0 ? 1 + symbol : 1 + ((2 + symbol % 2) << bits), bits};
}

class Inflater {
 public:
  Inflater(std::string_view data, std::size_t size) : in_(data), out_(size, '\0') {}

  std::string run() {
    bool last = false;
    while (!last) {
      last = in_.take(1) != 0;
      const std::uint32_t type = in_.take(2);
      if (type == 3) throw BrokenStream{"has a block of unknown type"};
      if (type == 0) {
        stored_block();
      } else {
        const auto [symbols, distances] = type == 1 ? fixed_codes() : dynamic_codes();
        compressed_block(symbols, distances);
      }
    }
    if (written_ != out_.size()) throw BrokenStream{"holds fewer bytes than it should"};
    if (!in_.at_end()) throw BrokenStream{"goes on after its end"};
    return std::move(out_);
  }

 private:
  using Codes = std::pair<PrefixCode, PrefixCode>;

  static Codes fixed_codes() {
    std::vector<int> lengths(288, 8);
    std::fill(lengths.begin() + 144, lengths.begin() + 256, 9);
    std::fill(lengths.begin() + 256, lengths.begin() + 280, 7);
    return {PrefixCode(lengths), PrefixCode(std::vector<int>(32, 5))};
  }

  Codes dynamic_codes() {
    const std::size_t symbols = in_.take(5) + 257;
    const std::size_t distances = in_.take(5) + 1;
    const std::size_t count = in_.take(4) + 4;
    if (symbols > 286 || distances > 30) throw BrokenStream{"has too many codes"};
    static constexpr std::array<std::size_t, 19> kOrder = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                           11, 4,  12, 3, 13, 2, 14, 1, 15};
    std::vector<int> lengths(19);
    for (std::size_t i = 0; i < count; ++i) lengths[kOrder[i]] = static_cast<int>(in_.take(3));
    const PrefixCode of_lengths(lengths);
    lengths.clear();
    while (lengths.size() < symbols + distances) {
      const int symbol = of_lengths.next(in_);
      if (symbol < 16) {
        lengths.push_back(symbol);
        continue;
      }
      if (symbol == 16 && lengths.empty()) throw BrokenStream{"repeats nothing"};
      const int value = symbol == 16 ? lengths.back() : 0;
      const std::uint32_t times = symbol == 16   ? 3 + in_.take(2)
                                  : symbol == 17 ? 3 + in_.take(3)
                                                 : 11 + in_.take(7);
      lengths.insert(lengths.end(), times, value);
    }
    if (lengths.size() > symbols + distances) throw BrokenStream{"has too many codes"};
    const auto middle = lengths.begin() + static_cast<std::ptrdiff_t>(symbols);
    return {PrefixCode({lengths.begin(), middle}), PrefixCode({middle, lengths.end()})};
  }

  void stored_block() {
    const std::string_view header = in_.take_bytes(4);
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(header[i]); };
    const std::size_t size = byte(0) | std::size_t{byte(1)} << 8;
    const std::size_t inverse = byte(2) | std::size_t{byte(3)} << 8;
    if (size != (~inverse & 0xffffU)) throw BrokenStream{"has a block of no known size"};
    const std::string_view bytes = in_.take_bytes(size);
    make_room(size);
    std::copy(bytes.begin(), bytes.end(), out_.begin() + static_cast<std::ptrdiff_t>(written_));
    written_ += size;
  }

  void compressed_block(const PrefixCode& symbols, const PrefixCode& distances) {
    for (;;) {
      const int symbol = symbols.next(in_);
      if (symbol == 256) return;
      if (symbol < 256) {
        make_room(1);
        out_[written_++] = static_cast<char>(symbol);
        continue;
      }
      if (symbol > 285) throw BrokenStream{"has a code that stands for nothing"};
      const std::size_t length = read(length_of(symbol));
      const int code = distances.next(in_);
      if (code > 29) throw BrokenStream{"has a code that stands for nothing"};
      const std::size_t distance = read(distance_of(code));
      if (distance > written_) throw BrokenStream{"refers to bytes before its start"};
      make_room(length);
      // Byte by byte: a match may overlap what it produces.
      char* to = out_.data() + written_;
      for (std::size_t i = 0; i < length; ++i) to[i] = *(to + i - distance);
      written_ += length;
    }
  }

  std::size_t read(Extra extra) {
    return static_cast<std::size_t>(extra.base) + in_.take(extra.bits);
  }

  void make_room(std::size_t count) const {
    if (count > out_.size() - written_) throw BrokenStream{"holds more bytes than it should"};
  }

  BitReader in_;
  std::string out_;
  std::size_t written_ = 0;
};

}  // namespace

std::string inflate(std::string_view data, std::uint64_t size, const std::string& place) {
  if (size / kLargestRatio > data.size()) {
    throw DataError(place + ": compressed data of " + std::to_string(data.size()) +
                    " bytes cannot hold the " + std::to_string(size) + " bytes it claims");
  }
  try {
    return Inflater(data, static_cast<std::size_t>(size)).run();
  } catch (const BrokenStream& broken) {
    throw DataError(place + ": compressed data " + broken.what + "; is the file damaged?");
  }
}

}  // namespace sae
