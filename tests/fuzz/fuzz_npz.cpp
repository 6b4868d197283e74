// Fuzzes the reader of a .npz archive: zip, inflate and the headers of its arrays.
#include <cstdint>

#include "entries.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sae::fuzz_npz({reinterpret_cast<const char*>(data), size});
  return 0;
}
