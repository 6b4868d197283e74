// Devices by name.
#pragma once

#include <c10/core/Device.h>

#include <string>

namespace sae {

/// "auto", "cpu", "cuda", "cuda:1" as a device; ConfigError if there is no such one here.
at::Device parse_device(const std::string& name);

}  // namespace sae
