// The archive of torch.save (PyTorch 1.6 and later): a pickle and the storages that it refers to.
// Without LibTorch.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/state_pickle.h"
#include "formats/zip.h"

namespace sae {

struct TorchArchive {
  PickledItems items;                        ///< of what was saved, in their order
  bool listed = false;                       ///< it was a list or tuple
  std::map<std::string, ZipEntry> storages;  ///< by key
};

/// Whether `file` starts like one, or like a file of PyTorch before 1.6.
bool is_torch_file(std::string_view file);

/// Reads the archive of a dict that `file` is. Guarantees that every tensor's storage is there and
/// has the size that the tensor says. Throws DataError starting with `place`; see
/// parse_state_pickle.
TorchArchive parse_torch_archive(std::string_view file, const std::string& place);
/// The same of what else may hold tensors; see parse_tensor_pickle.
TorchArchive parse_torch_tensors(std::string_view file, const std::string& place);

/// zip_contents of an entry that torch.save may have written without a checksum.
std::string_view torch_contents(const ZipEntry& entry, std::string& buffer,
                                const std::string& place);

}  // namespace sae
