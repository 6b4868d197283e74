// Labelled activations: one safetensors file with the activations of words or texts and the class
// of each, for absorption and for probing.
//
//     train_x [N, D]  train_y [N] i64    test_x [M, D]  test_y [M] i64       x in f32, f16 or bf16
//     score_x [M, D]  optional: the test words in fresh prompts, on which absorption is scored
//     train_offsets [N + 1], test_offsets [M + 1]  optional, i64: x then holds the tokens of texts,
//         text i those in rows offsets[i] .. offsets[i + 1] - 1 (codes are averaged over a text)
//     __metadata__: "task": "first_letter", "classes": "[\"a\", ..., \"z\"]" (JSON), and optional
//         "words": "{\"train\": [N strings], \"test\": [M strings]}" (JSON); others are ignored
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace sae {

struct LabelledSplit {
  at::Tensor x;                    ///< [N, D] float32, on the CPU; with offsets [tokens, D]
  at::Tensor y;                    ///< [N] i64, each in [0, C); every class is there
  at::Tensor offsets;              ///< [N + 1] i64; undefined: one row a sample
  std::vector<std::string> words;  ///< [N], or empty

  std::int64_t samples() const { return y.size(0); }
};

struct LabelledActivations {
  std::string place;  ///< where it came from, for messages
  std::string task;
  std::vector<std::string> classes;  ///< [C], at least two, all different
  LabelledSplit train;
  LabelledSplit test;
  at::Tensor score_x;  ///< [M, D] float32; undefined if the file has none

  std::int64_t d_in() const { return train.x.size(1); }
};

/// Reads such a file; DataError for anything that is not as above, with the place and a remedy.
LabelledActivations read_labelled(const std::filesystem::path& path);

/// Checks values made in code as the reader does: DataError that starts with `data.place`.
void check_labelled(const LabelledActivations& data);

/// DataError unless an autoencoder of this input width can take the activations.
void check_width(const LabelledActivations& data, std::int64_t d_in);
/// The same of a file that is not read yet, from its header.
void check_width(const std::filesystem::path& path, std::int64_t d_in);

void write_labelled(const std::filesystem::path& path, const LabelledActivations& data);

/// Whether `path` is a file that read_labelled is for (it may still find errors in it).
bool is_labelled_file(const std::filesystem::path& path);

/// The labelled files of a folder by name; DataError if it has none.
std::vector<std::filesystem::path> labelled_files(const std::filesystem::path& folder);

}  // namespace sae
