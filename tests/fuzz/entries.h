// What the fuzzers feed, and what must hold for any input: a reader returns something consistent or
// throws its one error. The suite replays tests/fuzz/corpus through the same functions.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/strict_json.h"
#include "formats/npy.h"
#include "formats/npz_arrays.h"
#include "formats/safetensors_header.h"
#include "formats/state_pickle.h"
#include "formats/torch_archive.h"
#include "sae/base/error.h"
#include "sae/config/config_node.h"
#include "tools/blind/formats.h"

namespace sae {

inline void require(bool holds) {
  if (!holds) std::abort();
}

/// Messages are one line, whatever the input.
inline void require_one_line(const std::exception& error) {
  require(std::string_view(error.what()).find('\n') == std::string_view::npos);
}

inline void fuzz_safetensors(std::string_view file) {
  try {
    std::uint64_t next = 0;
    for (const SafetensorsEntry& entry : parse_safetensors_header(file, "file").entries) {
      require(entry.begin <= entry.end && entry.end <= file.size());
      require(next == 0 || entry.begin == next);
      next = entry.end;
      std::uint64_t bytes = safetensors_element_size(entry.dtype);
      require(bytes > 0);
      for (const std::int64_t size : entry.shape) bytes *= static_cast<std::uint64_t>(size);
      require(bytes == entry.end - entry.begin);
    }
    require(next == 0 || next == file.size());
  } catch (const DataError& error) {
    require_one_line(error);
  }
}

inline void fuzz_npy(std::string_view file) {
  try {
    const NpyHeader header = parse_npy_header(file, "file");
    const std::uint64_t element = safetensors_element_size(header.dtype);
    require(element > 0 && header.rows >= 0 && header.columns >= 0 && header.begin <= file.size());
    require(header.begin + element * static_cast<std::uint64_t>(header.rows) *
                               static_cast<std::uint64_t>(header.columns) ==
            file.size());
  } catch (const DataError& error) {
    require_one_line(error);
  }
}

inline void fuzz_npz(std::string_view file) {
  try {
    std::uint64_t inflated = 0;
    visit_npz(file, "file", [&](const std::string&, const NpyArray& array, std::string_view data) {
      std::uint64_t bytes = safetensors_element_size(array.dtype);
      require(bytes > 0);
      for (const std::int64_t size : array.shape) bytes *= static_cast<std::uint64_t>(size);
      require(bytes == data.size());
      inflated += bytes;
    });
    require(inflated <= 1032 * file.size());
  } catch (const DataError& error) {
    require_one_line(error);
  }
}

/// Every element of a tensor lies in its storage, which has as many.
inline void require_inside(const PickledTensor& tensor) {
  std::int64_t count = 1;
  std::int64_t last = tensor.offset;
  require(tensor.offset >= 0 && tensor.shape.size() == tensor.strides.size());
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    require(tensor.shape[i] >= 0 && tensor.strides[i] >= 0);
    count *= tensor.shape[i];
    if (tensor.shape[i] > 1) last += (tensor.shape[i] - 1) * tensor.strides[i];
  }
  require(count <= tensor.storage_elements && (count == 0 || last < tensor.storage_elements));
}

inline void require_tensors_inside(const PickledItems& items, std::string_view file, bool whole) {
  for (const auto& [name, value] : items) {
    const auto* tensor = std::get_if<PickledTensor>(&value);
    if (tensor == nullptr) continue;
    require_inside(*tensor);
    const std::uint64_t element = safetensors_element_size(tensor->dtype);
    const auto elements = static_cast<std::uint64_t>(tensor->storage_elements);
    require(element > 0 && (!whole || elements <= 1032 * file.size() / element));
  }
}

/// An archive, or, if it does not start like one, the pickle that would be in it.
inline void fuzz_torch_file(std::string_view file) {
  const bool whole = is_zip(file);
  try {
    require_tensors_inside(
        whole ? parse_torch_archive(file, "file").items : parse_state_pickle(file, "file"), file,
        whole);
  } catch (const DataError& error) {
    require_one_line(error);
  }
  try {
    require_tensors_inside(
        whole ? parse_torch_tensors(file, "file").items : parse_tensor_pickle(file, "file").items,
        file, whole);
  } catch (const DataError& error) {
    require_one_line(error);
  }
}

inline void fuzz_json(std::string_view text) {
  try {
    const nlohmann::json value = parse_strict_json(text, "file");
    require(parse_strict_json(value.dump(), "again") == value);
  } catch (const DataError& error) {
    require_one_line(error);
  }
}

/// A key, or what a person answered.
inline void fuzz_blind(std::string_view text) {
  try {
    const BlindKey key = parse_blind_key(text, "file");
    for (const KeyItem& item : key.items) {
      require(item.member >= 0 && item.member < static_cast<std::int64_t>(key.members.size()));
      require(item.intruder >= 1 && item.intruder <= kTextsOfItem && item.latent >= 0);
    }
    require(to_text(parse_blind_key(to_text(key), "again")) == to_text(key));
  } catch (const DataError& error) {
    require_one_line(error);
  }
  try {
    for (const RaterAnswer& answer : parse_rater_answers(text, "file").answers) {
      require(answer.id.size() == kItemIdDigits && answer.milliseconds >= 0);
      require(answer.choice >= 0 && answer.choice <= kTextsOfItem);
    }
  } catch (const DataError& error) {
    require_one_line(error);
  }
}

/// A document, then, after a NUL byte, an assignment as of --set.
inline void fuzz_config(std::string_view input) {
  const std::size_t nul = input.find('\0');
  try {
    ConfigNode config = parse_config(input.substr(0, nul), "file");
    if (nul != input.npos) config = with_set(config, input.substr(nul + 1));
    for (const std::string& key : config.keys()) {
      require(config.has(key));
      require(!config.at(key).place().empty() && !config.at(key).got().empty());
    }
    require(config_from_json(config.json(), "again").json() == config.json());
  } catch (const ConfigError& error) {
    require_one_line(error);
  }
}

}  // namespace sae
