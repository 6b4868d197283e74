// The version of this library. CMake's project() is its only source.
#pragma once

namespace sae {

extern const char* const kVersion;       ///< "0.1.0"
extern const char* const kTorchVersion;  ///< of the LibTorch it was built with

}  // namespace sae
