// Sparse probing as SAEBench does it: how much of a class a few latents tell.
//
// For a binary task the k latents whose means differ most between the classes are put into a
// logistic regression; its accuracy on the test texts is compared with that of k raw activations,
// and of probes on all activations and on all latents (Gurnee et al. 2023, arXiv 2305.01610;
// Karvonen et al. 2025, "SAEBench", arXiv 2503.09532).
//
// A task is a labelled file (labelled.h). One of two classes is used as it is, class 1 against 0.
// One of more classes gives a task a class, against as many texts drawn from the others. With
// offsets, codes are averaged over a text's tokens, as sae-bench does; without, each row is
// encoded. Codes are those of decoder rows of norm 1, as sae-bench wants its autoencoders: which
// latents differ most, and how a regression's penalty weighs them, depends on their unit. Other
// than in sae-bench, the texts of other classes are the same for every k and for latents and
// activations, which are so compared on the same texts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sae/config/fields.h"
#include "sae/data/labelled.h"
#include "sae/evaluation/basis.h"
#include "sae/evaluation/probes.h"
#include "sae/metrics/metric_values.h"
#include "sae/models/autoencoder.h"

namespace sae {

struct SparseProbingOptions {
  std::vector<std::int64_t> k_values = {1, 2, 5};
  bool dense = true;
  std::int64_t probe_epochs = 100;
  std::int64_t probe_batch_size = 250;
  double probe_lr = 1e-2;
  std::int64_t patience = 10;
  std::int64_t seed = 42;
  std::int64_t batch = 1024;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("k_values", self.k_values, at_least(1), "numbers of latents to probe with");
    visit("dense", self.dense, any, "also probe all activations and all latents");
    visit("probe_epochs", self.probe_epochs, at_least(1), "probes on everything: most epochs");
    visit("probe_batch_size", self.probe_batch_size, at_least(1), "... texts a step");
    visit("probe_lr", self.probe_lr, above(0), "... learning rate");
    visit("patience", self.patience, at_least(1),
          "... epochs without a better test accuracy before they stop");
    visit("seed", self.seed, at_least(0), "texts of other classes, initial weights and orders");
    visit("batch", self.batch, at_least(1), "rows encoded at a time");
  }

  void check(Findings& findings) const;
};

/// Means over the rows of each text: [texts, features], dense.
Codes text_means(const Codes& x, const at::Tensor& offsets);

/// The k features whose means differ most between the two classes (labels [N] i64), ascending; of
/// equal differences the lower index.
std::vector<std::int64_t> top_mean_differences(const Codes& x, const at::Tensor& labels,
                                               std::int64_t k);

/// Test accuracy of the logistic regression on the features `which`.
double k_sparse_accuracy(const Codes& train_x, const at::Tensor& train_labels, const Codes& test_x,
                         const at::Tensor& test_labels, const std::vector<std::int64_t>& which);

/// Rows of a balanced one-vs-rest task: all of class `label`, and as many of the others, drawn by
/// (seed, draw) evenly from each, as far as there are any. [n] i64, the class's own rows first.
at::Tensor balanced_rows(const at::Tensor& y, std::int64_t classes, std::int64_t label,
                         std::uint64_t seed, std::uint64_t draw);

/// Accuracies of one task, under sae-bench's names without the mean over tasks: llm_test_accuracy,
/// llm_top_1_test_accuracy, ..., sae_test_accuracy, sae_top_1_test_accuracy, ...
struct ProbingTask {
  std::string name;
  std::int64_t train_texts = 0, test_texts = 0;  ///< of the class and as many of the others
  MetricValues accuracy;
  std::vector<std::vector<std::int64_t>> latents;  ///< chosen, for each k
};

struct ProbingDataset {
  std::string name;
  std::string unranked;  ///< why its accuracies rank nothing; empty if they do
  SampleCount train_texts, test_texts;
  std::vector<ProbingTask> tasks;  ///< one a class, or one alone

  MetricValues mean() const;
};

struct ProbingResult {
  SparseProbingOptions options;
  std::vector<ProbingDataset> datasets;

  /// Means over tasks within a file, then over files; and tasks, their number.
  MetricValues values() const;
  /// Why the means rank nothing, with the file's name: that of the first file which ranks nothing.
  std::string unranked() const;
  std::string basis() const;  ///< what the means rest on, for people
  /// In the layout of sae-bench's result files.
  nlohmann::ordered_json json() const;
};

/// The texts of one file as the model and as the autoencoder see them. Tasks of any seed are drawn
/// from these.
struct ProbingSubject {
  Codes train, test;              ///< [N, D], [M, D]
  Codes train_codes, test_codes;  ///< [N, F], [M, F], of decoder rows of norm 1
  std::string degenerate;         ///< why the codes would rank nothing (ranking.h)
  SampleCount train_texts, test_texts;
};
/// DataError for another width.
ProbingSubject encode_texts(const Autoencoder& sae, const LabelledActivations& data,
                            std::int64_t batch);

/// All tasks of one file. Codes that are not finite are not probed: their accuracies are NaN.
ProbingDataset probe_dataset(const ProbingSubject& subject, const LabelledActivations& data,
                             const SparseProbingOptions& options, std::int64_t seed);
/// Both.
ProbingDataset probe_dataset(const Autoencoder& sae, const LabelledActivations& data,
                             const SparseProbingOptions& options, std::int64_t seed);

}  // namespace sae
