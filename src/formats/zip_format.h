// Numbers of the ZIP format that its reader and its writer share (APPNOTE.TXT, section 4.3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sae {

inline constexpr std::string_view kLocal = "PK\x03\x04";
inline constexpr std::string_view kCentral = "PK\x01\x02";
inline constexpr std::string_view kEnd = "PK\x05\x06";
inline constexpr std::string_view kEnd64 = "PK\x06\x06";
inline constexpr std::string_view kLocator64 = "PK\x06\x07";
inline constexpr std::size_t kLocalSize = 30;
inline constexpr std::size_t kEnd64Size = 56;
inline constexpr std::uint64_t kIn64 = 0xffffffff;  // "see the ZIP64 field"
inline constexpr std::uint64_t kZip64Id = 1;

}  // namespace sae
