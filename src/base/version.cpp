#include "sae/base/version.h"

#include <torch/version.h>

namespace sae {

const char* const kVersion = SAE_VERSION;
const char* const kTorchVersion = TORCH_VERSION;

}  // namespace sae
