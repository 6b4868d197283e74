// What the fuzzers feed, and what must hold for any input: a reader returns something consistent or
// throws its one error. The suite replays tests/fuzz/corpus through the same functions.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "npy.h"
#include "sae/config.h"
#include "sae/error.h"
#include "safetensors_header.h"
#include "strict_json.h"

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

inline void fuzz_json(std::string_view text) {
  try {
    const nlohmann::json value = parse_strict_json(text, "file");
    require(parse_strict_json(value.dump(), "again") == value);
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
