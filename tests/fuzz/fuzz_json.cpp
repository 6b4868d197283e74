// Fuzzes the reader of a manifest's JSON.
#include <cstdint>

#include "entries.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sae::fuzz_json({reinterpret_cast<const char*>(data), size});
  return 0;
}
