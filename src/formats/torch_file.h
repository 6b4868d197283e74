// Files of torch.save: a dict of tensors read without running its pickle, and written.
//
// Why not LibTorch's own torch::pickle_load and pickle_save, tried with 2.11.0:
// - torch.load(weights_only=True), the default, refuses what pickle_save writes of a dict, for
//   "Unsupported global: GLOBAL torch.jit._pickle.restore_type_tag";
// - pickle_load stops at the OrderedDict that Module.state_dict() is, at plain values beside
// tensors,
//   and at protocols 3 to 5 (tests/golden/archives: torch.pt, torch_protocol_*.pt);
// - files made to harm it do: 200,000 nested lists are a segmentation fault, and one memo index of
//   five bytes asks for 34 GB.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "formats/state_pickle.h"
#include "sae/formats/safetensors.h"

namespace sae {

/// A tensor, a plain value, or the kind of something that is neither ("a dict").
using TorchValue =
    std::variant<std::monostate, bool, std::int64_t, double, std::string, at::Tensor, PickledOther>;

/// The items of the dict that was saved, in its order. Tensors are on the CPU whatever device they
/// were saved from; those that shared a storage still do. Everything that a state_dict() does not
/// hold, the formats of other programs and of PyTorch before 1.6 are DataErrors that start with the
/// path. Nothing in the file is run.
std::vector<std::pair<std::string, TorchValue>> read_torch_file(const std::filesystem::path& path);

/// The same of a dict that must hold tensors only.
NamedTensors read_torch_tensors(const std::filesystem::path& path);

/// Writes `path` atomically as torch.save writes a dict of tensors; torch.load reads it with
/// weights_only. Equal tensors give equal bytes.
void write_torch_file(const std::filesystem::path& path, const NamedTensors& tensors);

}  // namespace sae
