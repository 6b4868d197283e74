// Fuzzes the reader of an evaluation's result, as the pages of latents use it.
#include "path_entries.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sae::fuzz_readings({reinterpret_cast<const char*>(data), size});
  return 0;
}
