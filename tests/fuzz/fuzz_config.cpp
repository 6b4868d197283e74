// Fuzzes the reader of a configuration and one --set.
#include <cstdint>

#include "entries.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sae::fuzz_config({reinterpret_cast<const char*>(data), size});
  return 0;
}
