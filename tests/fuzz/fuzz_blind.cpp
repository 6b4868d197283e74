// Fuzzes the readers of keys and answers of `sae blind`.
#include <cstdint>

#include "entries.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sae::fuzz_blind({reinterpret_cast<const char*>(data), size});
  return 0;
}
