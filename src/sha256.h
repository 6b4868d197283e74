// The inner loop of SHA-256 without special instructions, visible for tests.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace sae {

void sha256_compress_portable(std::array<std::uint32_t, 8>& state, const unsigned char* data,
                              std::size_t blocks);

}  // namespace sae
