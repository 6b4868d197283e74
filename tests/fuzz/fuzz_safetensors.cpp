// Fuzzes the reader of the header of a safetensors file.
#include <cstdint>

#include "entries.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sae::fuzz_safetensors({reinterpret_cast<const char*>(data), size});
  return 0;
}
