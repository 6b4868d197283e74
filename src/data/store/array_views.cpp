#include "data/store/array_views.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "data/store/file_facts.h"
#include "formats/npy.h"
#include "formats/safetensors_header.h"
#include "formats/torch_archive.h"
#include "sae/base/error.h"
#include "sae/base/text.h"

namespace sae {
namespace {

ArraysOfFile of_npy(const MappedFile& file) {
  const std::string place = file.path().string();
  const NpyArray array = parse_npy_array(file.bytes(), place);
  if (array.fortran_order && array.shape.size() > 1) {
    throw DataError(place + ": array is in Fortran order; save numpy.ascontiguousarray of it");
  }
  return {{{"", array.dtype, array.shape, file.bytes().substr(array.begin)}}};
}

bool is_in_c_order(const PickledTensor& tensor) {
  std::int64_t stride = 1;
  for (std::size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] > 1 && tensor.strides[i] != stride) return false;
    stride *= std::max<std::int64_t>(tensor.shape[i], 1);
  }
  return true;
}

ArrayView view_of(const PickledTensor& tensor, const std::string& name, const TorchArchive& archive,
                  const std::string& place) {
  ArrayView view{printable(name), tensor.dtype, tensor.shape, {}};
  if (!is_in_c_order(tensor)) {
    throw DataError(place + ": " + view.called() + " is not contiguous; save its contiguous()");
  }
  const ZipEntry& storage = archive.storages.at(tensor.storage);
  if (storage.deflated) {
    throw DataError(place + ": " + view.called() + " is compressed, expected as torch.save writes");
  }
  std::uint64_t size = safetensors_element_size(tensor.dtype);
  const std::uint64_t begin = static_cast<std::uint64_t>(tensor.offset) * size;
  for (const std::int64_t length : tensor.shape) size *= static_cast<std::uint64_t>(length);
  view.bytes = storage.data.substr(begin, size);
  return view;
}

/// Reads all of the file, once in the life of the process.
void verify_checksums(const MappedFile& file, const TorchArchive& archive) {
  static FileFacts<bool> facts;
  facts.get(file, [&](const MappedFile& one) {
    for (const auto& [key, storage] : archive.storages) {
      std::string buffer;
      torch_contents(storage, buffer, one.path().string());
    }
    return true;
  });
}

ArraysOfFile of_torch_file(const MappedFile& file, bool verify) {
  const std::string place = file.path().string();
  const TorchArchive archive = parse_torch_tensors(file.bytes(), place);
  if (verify) verify_checksums(file, archive);
  const bool has_activations =
      std::any_of(archive.items.begin(), archive.items.end(), [](const auto& item) {
        return item.first == "activations" && std::holds_alternative<PickledTensor>(item.second);
      });
  ArraysOfFile found;
  found.listed = archive.listed;
  for (const auto& [name, value] : archive.items) {
    const auto* other = std::get_if<PickledOther>(&value);
    if (other != nullptr && (found.listed || !has_activations)) {
      throw DataError(place + ": '" + printable(name) + "' is " + other->kind +
                      ", expected a tensor");
    }
    if (const auto* tensor = std::get_if<PickledTensor>(&value)) {
      found.arrays.push_back(view_of(*tensor, name, archive, place));
    }
  }
  return found;
}

}  // namespace

ArraysOfFile safetensors_arrays(const MappedFile& file) {
  ArraysOfFile found;
  const auto header = parse_safetensors_header(file.bytes(), file.path().string());
  for (const SafetensorsEntry& entry : header.entries) {
    found.arrays.push_back({entry.name, entry.dtype, entry.shape,
                            file.bytes().substr(entry.begin, entry.end - entry.begin)});
  }
  return found;
}

ArraysOfFile arrays_in(const MappedFile& file, bool verify) {
  if (is_npy(file.bytes())) return of_npy(file);
  if (is_torch_file(file.bytes())) return of_torch_file(file, verify);
  return safetensors_arrays(file);
}

}  // namespace sae
