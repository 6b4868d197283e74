// Fuzzes the reader of judge files.
#include "path_entries.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sae::fuzz_judge({reinterpret_cast<const char*>(data), size});
  return 0;
}
