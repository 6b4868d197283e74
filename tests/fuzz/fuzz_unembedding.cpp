// Fuzzes the reader of unembeddings.
#include "path_entries.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sae::fuzz_unembedding({reinterpret_cast<const char*>(data), size});
  return 0;
}
