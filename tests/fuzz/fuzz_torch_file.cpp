// Fuzzes the reader of a file of torch.save: its zip and its pickle.
#include <cstdint>

#include "entries.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sae::fuzz_torch_file({reinterpret_cast<const char*>(data), size});
  return 0;
}
