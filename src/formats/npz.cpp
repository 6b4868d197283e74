#include "formats/npz.h"

#include <torch/types.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "formats/npz_arrays.h"
#include "formats/tensor_bytes.h"
#include "formats/zip_writer.h"
#include "sae/base/files.h"

namespace sae {
namespace {

at::Tensor to_tensor(const NpyArray& array, std::string_view data) {
  if (!array.fortran_order) return tensor_of_bytes(data, array.dtype, array.shape);
  const std::vector<std::int64_t> reversed(array.shape.rbegin(), array.shape.rend());
  std::vector<std::int64_t> axes(array.shape.size());
  std::iota(axes.rbegin(), axes.rend(), 0);
  return tensor_of_bytes(data, array.dtype, reversed).permute(axes).contiguous();
}

}  // namespace

NamedTensors read_npz(const std::filesystem::path& path) {
  const MappedFile file(path);
  NamedTensors tensors;
  visit_npz(file.bytes(), path.string(),
            [&](const std::string& name, const NpyArray& array, std::string_view data) {
              tensors.emplace_back(name, to_tensor(array, data));
            });
  file.check_unchanged();
  return tensors;
}

void write_npz(const std::filesystem::path& path, const NamedTensors& tensors) {
  ZipWriter writer(path);
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor data = tensor.detach().to(at::kCPU).contiguous();
    const std::string header =
        npy_header(safetensors_dtype(data.scalar_type()), data.sizes().vec());
    writer.add(name + ".npy", {header, bytes_of(data)});
  }
  writer.commit();
}

}  // namespace sae
