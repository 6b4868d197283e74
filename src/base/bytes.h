// Little-endian numbers in strings of bytes, as most file formats have them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sae {

/// Appends the `size` low bytes of `value`.
inline void put_number(std::string& to, std::uint64_t value, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i, value >>= 8) {
    to.push_back(static_cast<char>(value & 0xffU));
  }
}

/// The number of `size` bytes at `at`, which the caller has checked to be there.
inline std::uint64_t number_at(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = size; i-- > 0;) {
    value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  }
  return value;
}

}  // namespace sae
