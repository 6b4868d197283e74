#include "formats/torch_archive.h"

#include <set>

#include "formats/safetensors_header.h"
#include "sae/base/error.h"
#include "sae/base/text.h"

namespace sae {
namespace {

constexpr std::string_view kPickle = "/data.pkl";
// A pickle of protocol 2 that starts with the number 0x1950a86a20f9469cfc6c, before PyTorch 1.6.
constexpr std::string_view kLegacy = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// "ae/" where the pickle is "ae/data.pkl".
std::string find_prefix(const std::vector<ZipEntry>& entries, const std::string& place) {
  for (const ZipEntry& entry : entries) {
    const std::string_view name = entry.name;
    if (name.ends_with(kPickle) && name.find('/') == name.size() - kPickle.size()) {
      return std::string(name.substr(0, name.size() - kPickle.size() + 1));
    }
  }
  throw DataError(place + ": zip archive without data.pkl, expected a file of torch.save" +
                  (entries.empty() ? "" : "; found " + printable(entries.front().name)));
}

void check_storage(const PickledTensor& tensor, const std::string& name,
                   const TorchArchive& archive, const std::string& place) {
  const auto found = archive.storages.find(tensor.storage);
  const std::string where =
      place + ": tensor '" + printable(name) + "': storage '" + printable(tensor.storage) + "' ";
  if (found == archive.storages.end()) throw DataError(where + "is missing");
  const std::uint64_t element = safetensors_element_size(tensor.dtype);
  const std::uint64_t bytes = found->second.size;
  if (bytes % element != 0 ||
      bytes / element != static_cast<std::uint64_t>(tensor.storage_elements)) {
    throw DataError(where + "has " + std::to_string(bytes) + " bytes, expected " +
                    std::to_string(tensor.storage_elements) + " elements of " + tensor.dtype);
  }
}

/// An archive of which the tensors are still unknown, and its pickle, part of the file or of
/// `buffer`.
std::string_view read_entries(TorchArchive& archive, std::string_view file, std::string& buffer,
                              const std::string& place) {
  if (file.starts_with(kLegacy)) {
    throw DataError(place +
                    ": in the format of PyTorch before 1.6, expected a zip archive; load it with "
                    "torch.load and torch.save it again");
  }
  if (!is_zip(file)) throw DataError(place + ": not a file of torch.save");
  std::string_view pickle;
  const std::vector<ZipEntry> entries = parse_zip(file, place);
  const std::string prefix = find_prefix(entries, place);
  for (const ZipEntry& entry : entries) {
    const std::string_view name = entry.name;
    if (!name.starts_with(prefix)) continue;
    const std::string_view rest = name.substr(prefix.size());
    if (rest == kPickle.substr(1)) {
      pickle = torch_contents(entry, buffer, place);
    } else if (rest == "byteorder") {
      std::string inflated;
      const std::string_view order = torch_contents(entry, inflated, place);
      if (order != "little") {
        throw DataError(place + ": byte order '" + printable(order) + "', expected 'little'");
      }
    } else if (rest.starts_with("data/")) {
      archive.storages.emplace(rest.substr(5), entry);
    }
  }
  return pickle;
}

TorchArchive checked(TorchArchive archive, const std::string& place) {
  for (const auto& [name, value] : archive.items) {
    if (const auto* tensor = std::get_if<PickledTensor>(&value)) {
      check_storage(*tensor, name, archive, place);
    }
  }
  return archive;
}

}  // namespace

std::string_view torch_contents(const ZipEntry& entry, std::string& buffer,
                                const std::string& place) {
  // torch.serialization.set_crc32_options(False) writes 0.
  if (entry.crc == 0 && !entry.deflated) return entry.data;
  return zip_contents(entry, buffer, place);
}

bool is_torch_file(std::string_view file) { return is_zip(file) || file.starts_with(kLegacy); }

TorchArchive parse_torch_archive(std::string_view file, const std::string& place) {
  TorchArchive archive;
  std::string buffer;
  const std::string_view pickle = read_entries(archive, file, buffer, place);
  archive.items = parse_state_pickle(pickle, place);
  return checked(std::move(archive), place);
}

TorchArchive parse_torch_tensors(std::string_view file, const std::string& place) {
  TorchArchive archive;
  std::string buffer;
  PickledTensors tensors = parse_tensor_pickle(read_entries(archive, file, buffer, place), place);
  archive.items = std::move(tensors.items);
  archive.listed = tensors.listed;
  return checked(std::move(archive), place);
}

}  // namespace sae
