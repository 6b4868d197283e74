// Tensors of tests/golden/, by name.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "sae/formats/safetensors.h"

namespace sae {

class GoldenFile {
 public:
  explicit GoldenFile(const std::string& name)
      : file_((std::filesystem::path(SAE_SOURCE_DIR) / "tests" / "golden" / "metrics" / name)
                  .replace_extension("safetensors")) {}

  bool contains(const std::string& name) const { return file_.contains(name); }
  at::Tensor operator[](const std::string& name) const { return file_.tensor(name); }
  at::Tensor doubles(const std::string& name) const { return file_.tensor(name).to(at::kDouble); }
  at::Tensor longs(const std::string& name) const { return file_.tensor(name).to(at::kLong); }
  double number(const std::string& name) const { return doubles(name).item<double>(); }
  std::vector<double> list(const std::string& name) const {
    const at::Tensor flat = doubles(name).reshape({-1}).contiguous();
    return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
  }
  std::vector<std::int64_t> integers(const std::string& name) const {
    const at::Tensor flat = longs(name).reshape({-1}).contiguous();
    return {flat.const_data_ptr<std::int64_t>(),
            flat.const_data_ptr<std::int64_t>() + flat.numel()};
  }

 private:
  SafetensorsFile file_;
};

}  // namespace sae
