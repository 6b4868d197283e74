// A number of each row of a store: its token id or its context id.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "sae/base/files.h"

namespace sae {

struct IdColumn {
  std::shared_ptr<const MappedFile> file;  ///< that holds them
  std::string dtype;                       ///< I8 to I64, U8 to U64: see is_integer
  std::string_view bytes;                  ///< [T], may be unaligned; empty: there are none
  std::int64_t offset = 0;                 ///< the file's number of row 0, for messages

  bool empty() const { return bytes.empty(); }
  /// Those of rows [first, first + count), which there are.
  IdColumn part(std::int64_t first, std::int64_t count) const;
  /// The same as int32. DataError for one that is larger or smaller, and for a file that has
  /// changed.
  void read(std::int64_t first, std::int64_t count, std::int32_t* out) const;
};

/// Whether a column may be of that type.
bool is_integer(std::string_view dtype);

}  // namespace sae
