// DEFLATE, the compression of zip archives, read without LibTorch. Format: RFC 1951.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sae {

/// The `size` bytes that `data` was made from. Throws DataError starting with `place` if it is
/// damaged or holds another number of bytes; memory is bounded by what the format can pack into
/// `data` (1032 to 1), whatever `size` says.
std::string inflate(std::string_view data, std::uint64_t size, const std::string& place);

}  // namespace sae
