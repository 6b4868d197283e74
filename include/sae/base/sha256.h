// SHA-256 (FIPS 180-4), for spotting damage and change.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace sae {

class Sha256 {
 public:
  void update(std::string_view bytes);
  std::string hex();  ///< finishes; 64 lower-case digits

 private:
  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> block_{};
  std::uint64_t size_ = 0;
};

std::string sha256_hex(std::string_view bytes);
std::string sha256_of_file(const std::filesystem::path& path);

/// The inner loop without special instructions, visible for tests.
void sha256_compress_portable(std::array<std::uint32_t, 8>& state, const unsigned char* data,
                              std::size_t blocks);

}  // namespace sae
