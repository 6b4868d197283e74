#include "formats/torch_file.h"

#include <torch/types.h>

#include <map>

#include "formats/tensor_bytes.h"
#include "formats/torch_archive.h"
#include "formats/zip_writer.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/text.h"

namespace sae {
namespace {

/// Reads every storage once, however many tensors are views of it.
class Storages {
 public:
  Storages(const TorchArchive& archive, std::string place)
      : archive_(archive), place_(std::move(place)) {}

  at::Tensor view(const PickledTensor& tensor) {
    const auto key = std::pair(tensor.storage, tensor.dtype);
    const auto found = read_.find(key);
    const at::Tensor storage =
        found != read_.end() ? found->second : read_.emplace(key, read(tensor)).first->second;
    return storage.as_strided(tensor.shape, tensor.strides, tensor.offset);
  }

 private:
  at::Tensor read(const PickledTensor& tensor) const {
    std::string buffer;
    return tensor_of_bytes(torch_contents(archive_.storages.at(tensor.storage), buffer, place_),
                           tensor.dtype, {tensor.storage_elements});
  }

  const TorchArchive& archive_;
  std::string place_;
  std::map<std::pair<std::string, std::string>, at::Tensor> read_;
};

TorchValue to_value(const PickledValue& value, Storages& storages) {
  return std::visit(
      [&](const auto& held) -> TorchValue {
        if constexpr (std::is_same_v<std::decay_t<decltype(held)>, PickledTensor>) {
          return storages.view(held);
        } else {
          return held;
        }
      },
      value);
}

}  // namespace

std::vector<std::pair<std::string, TorchValue>> read_torch_file(const std::filesystem::path& path) {
  const MappedFile file(path);
  const TorchArchive archive = parse_torch_archive(file.bytes(), path.string());
  Storages storages(archive, path.string());
  std::vector<std::pair<std::string, TorchValue>> values;
  for (const auto& [name, value] : archive.items) {
    values.emplace_back(name, to_value(value, storages));
  }
  file.check_unchanged();
  return values;
}

NamedTensors read_torch_tensors(const std::filesystem::path& path) {
  NamedTensors tensors;
  for (auto& [name, value] : read_torch_file(path)) {
    if (!std::holds_alternative<at::Tensor>(value)) {
      const auto* other = std::get_if<PickledOther>(&value);
      throw DataError(path.string() + ": '" + printable(name) + "' is " +
                      (other != nullptr ? other->kind : "a plain value") +
                      ", expected tensors only");
    }
    tensors.emplace_back(name, std::get<at::Tensor>(std::move(value)));
  }
  return tensors;
}

void write_torch_file(const std::filesystem::path& path, const NamedTensors& tensors) {
  std::vector<std::pair<std::string, PickledTensor>> pickled;
  std::vector<at::Tensor> data;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor& stored = data.emplace_back(tensor.detach().to(at::kCPU).contiguous());
    pickled.emplace_back(name, PickledTensor{.dtype = safetensors_dtype(stored.scalar_type()),
                                             .storage = std::to_string(pickled.size()),
                                             .storage_elements = stored.numel(),
                                             .offset = 0,
                                             .shape = stored.sizes().vec(),
                                             .strides = stored.strides().vec()});
  }
  const std::string folder = path.stem().string() + "/";
  ZipWriter writer(path);
  writer.add(folder + "data.pkl", {state_pickle(pickled)});
  writer.add(folder + "byteorder", {"little"});
  for (std::size_t i = 0; i < data.size(); ++i) {
    writer.add(folder + "data/" + pickled[i].second.storage, {bytes_of(data[i])});
  }
  writer.add(folder + "version", {"3\n"});
  writer.commit();
}

}  // namespace sae
