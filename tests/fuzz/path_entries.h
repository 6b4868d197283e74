// The fuzzers' entries for readers that take the path of a file. As in entries.h.
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "entries.h"
#include "sae/base/files.h"
#include "sae/data/labelled.h"
#include "sae/evaluation/judge.h"
#include "sae/tools/features.h"
#include "support/temporary_folder.h"
#include "tools/features/unembedding.h"

namespace sae {

/// A file with this content, the same one each time.
inline std::filesystem::path fuzzed_file(const std::string& content) {
  static const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "fuzzed.safetensors";
  write_file_atomically(path, content);
  return path;
}

/// A safetensors file of a header and, after a NUL byte, the tensors' bytes: the header's own
/// length, which precedes it in the file, always fits.
inline std::filesystem::path fuzzed_safetensors(std::string_view input) {
  const std::size_t nul = std::min(input.find('\0'), input.size());
  std::string header(input.substr(0, nul));
  header.append((8 - header.size() % 8) % 8, ' ');
  std::string file(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(header.size() >> (8 * i));
  file += header;
  file += input.substr(std::min(nul + 1, input.size()));
  return fuzzed_file(file);
}

inline void fuzz_labelled(std::string_view input) {
  try {
    const LabelledActivations data = read_labelled(fuzzed_safetensors(input));
    check_labelled(data);
    require(data.d_in() > 0 && data.test.x.size(1) == data.d_in());
    for (const LabelledSplit* split : {&data.train, &data.test}) {
      require(split->samples() >= static_cast<std::int64_t>(data.classes.size()));
      require(split->words.empty() ||
              static_cast<std::int64_t>(split->words.size()) == split->samples());
      require(split->y.min().item<std::int64_t>() == 0);
      require(at::isfinite(split->x).all().item<bool>());
      if (!split->offsets.defined()) continue;
      require(split->offsets.min().item<std::int64_t>() == 0);
      require(split->offsets.max().item<std::int64_t>() == split->x.size(0));
    }
  } catch (const DataError& error) {
    require_one_line(error);
  }
}

inline void fuzz_judge(std::string_view input) {
  try {
    const JudgeFile judge = read_judge(fuzzed_safetensors(input));
    const auto rows = static_cast<std::int64_t>(judge.rows.size());
    require(rows > 0 && judge.whole->size() == rows);
    require(!judge.blind || judge.blind->size() == rows);
    require(judge.rows.front() >= 0 && std::is_sorted(judge.rows.begin(), judge.rows.end()));
    for (std::int32_t row = 0; row < static_cast<std::int32_t>(rows); ++row) {
      require(std::abs(judge.whole->dot(row, row) - 1) < 1e-5);
    }
  } catch (const DataError& error) {
    require_one_line(error);
  }
}

inline void fuzz_unembedding(std::string_view input) {
  try {
    const Unembedding unembedding(fuzzed_safetensors(input));
    require(unembedding.tokens() > 0 && unembedding.width() > 0);
    const auto logits = latent_logits(unembedding, at::ones({1, unembedding.width()}));
    require(logits.size() == 1 && !logits.front().top.empty());
    unembedding.check_fits(3, "tiny", 6, "store");
    require(unembedding.width() == 3);
  } catch (const DataError& error) {
    require_one_line(error);
  }
}

/// What `sae eval --json` printed, for an autoencoder of 20 latents.
inline void fuzz_readings(std::string_view text) {
  try {
    for (const auto& [latent, readings] :
         read_latent_readings(fuzzed_file(std::string(text)), 20)) {
      require(latent >= 0 && latent < 20 && !readings.empty());
      for (const LatentReading& reading : readings) {
        for (const auto& part : reading) {
          const auto* other = std::get_if<std::int64_t>(&part);
          require(other == nullptr || (*other >= 0 && *other < 20));
        }
      }
    }
  } catch (const DataError& error) {
    require_one_line(error);
  }
}

}  // namespace sae
