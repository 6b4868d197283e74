// Fuzzes the reader of labelled activations.
#include "path_entries.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sae::fuzz_labelled({reinterpret_cast<const char*>(data), size});
  return 0;
}
