// CRC-32 (ISO 3309), the checksum of zip archives.
#pragma once

#include <cstdint>
#include <string_view>

namespace sae {

/// Of the bytes whose checksum is `crc`, followed by `bytes`; 0 is that of none.
std::uint32_t crc32(std::uint32_t crc, std::string_view bytes);

}  // namespace sae
