// What went wrong in a run, found in what the run itself wrote, and what to change.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "sae/config/fields.h"
#include "sae/metrics/catalogue.h"
#include "sae/training/input_statistics.h"

namespace sae {

/// Limits of the checks. The defaults clear nine in ten of some two hundred runs, on synthetic
/// worlds and on a language model's activations, and name what is wrong with the others.
struct DiagnoseOptions {
  double dead = 0.1;
  double dense_frequency = 0.1;
  double dense_ratio = 10;
  double dense_share = 0.01;
  double l0_tolerance = 0.15;
  double l0_width = 0.25;
  double spike = 2;
  double gap = 0.05;
  double words_l0 = 1.5;
  double main_f1 = kLeastMainF1;
  double large_inputs = kMuchInLarge;
  double mean_input = kMuchInMean;
  double drift = 0.02;
  double drift_start = 0.05;
  double theta_swing = 0.1;
  double masked_least = 0.01;
  double masked_most = 0.8;
  double cosine = 0.9;
  double retained = 0.5;
  double twin_cosine = 0.99;
  double twins = 0.05;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("dead", self.dead, between(0, 1),
          "largest share of latents that may be dead; while the run is shorter than "
          "dead_after_tokens, that may not have fired on held-out data");
    visit("dense_frequency", self.dense_frequency, between(0, 1),
          "a latent is dense if it fires on at least this share of the tokens");
    visit("dense_ratio", self.dense_ratio, at_least(1),
          "and on this many times as many as the average latent, or on half of all tokens");
    visit("dense_share", self.dense_share, between(0, 1),
          "largest share of latents that may be dense, beyond those that nested prefixes explain");
    visit("l0_tolerance", self.l0_tolerance, at_least(0),
          "largest distance of L0 from k or target_l0, as a share of it");
    visit("l0_width", self.l0_width, above(0),
          "largest L0 as a share of d_in; codes denser than that need no sparse structure");
    visit("spike", self.spike, above(1),
          "a logged error this many times that of the rows before and after is a spike");
    visit("gap", self.gap, at_least(0),
          "largest explained variance in training above that on held-out data");
    visit("words_l0", self.words_l0, at_least(1),
          "largest factor between L0 on classes of words and on text, either way");
    visit("main_f1", self.main_f1, between(0, 1),
          "least mean F1 of the main latents of classes of words");
    visit("large_inputs", self.large_inputs, between(0, 1),
          "largest share of the inputs' squared norm in rows above 10 times the median norm");
    visit(
        "mean_input", self.mean_input, between(0, 1),
        "largest share of the inputs' squared norm in their mean vector, if it is not subtracted");
    visit("drift", self.drift, above(0),
          "largest change of a mask's importance in one step, as a share, at the end");
    visit("drift_start", self.drift_start, above(0), "and when the mask's warm-up ends");
    visit("theta_swing", self.theta_swing, above(0),
          "largest departure of theta from its logged neighbours, as a share; the median one");
    visit("masked_least", self.masked_least, between(0, 1),
          "a mask that hides no larger share of the latents does nothing");
    visit("masked_most", self.masked_most, between(0, 1),
          "a mask that hides this share of the latents has collapsed");
    visit("cosine", self.cosine, between(-1, 1),
          "least held-out cosine of an autoencoder trained under its mask alone, where");
    visit("retained", self.retained, between(0, 1),
          "the mask leaves less than this share of the latents");
    visit("twin_cosine", self.twin_cosine, between(-1, 1),
          "two latents whose decoder rows have a larger cosine are twins");
    visit("twins", self.twins, between(0, 1),
          "largest share of latents that have a twin, of an autoencoder that is looked at alone");
  }

  void check(Findings& findings) const;
};

enum class CheckState { kClear, kFired, kSkipped };
constexpr auto names_of(CheckState) { return std::array{"clear", "fired", "skipped"}; }

/// One check. `evidence` holds the numbers that decided, under the names of metrics.jsonl where
/// they come from there, and the limits they were held against.
struct Check {
  std::string name;
  CheckState state = CheckState::kSkipped;
  std::string found;  ///< one line; for a skipped check, what is missing
  std::vector<std::pair<std::string, double>> evidence;
  std::string change;  ///< what to change, where the check fired
};

/// unfinished, divergence, loss_spikes, dead_latents, dense_latents, l0_target, l0_width,
/// held_out_gap, words_l0, words_latents, large_inputs, mean_input; of runs with a mask also
/// mask_share, mask_warmup,
/// mask_importance, mask_theta and mask_retention: the failures that arXiv 2510.08855 lists. Of an
/// autoencoder without a record of its training: training, which is skipped and says what is
/// missing, zero_rows and twins.
struct Diagnosis {
  std::string run;
  std::vector<Check> checks;
  std::vector<std::string> notes;  ///< how the weights were opened, if that is news

  std::int64_t fired() const;
  const Check& check(const std::string& name) const;  ///< std::invalid_argument: no such check
};

/// Of a run it reads config.json, data.json, metrics.jsonl, summary.json, evaluation.json where
/// `sae compare` has left one, and the checkpoints' names; of an autoencoder or checkpoint, whoever
/// wrote it, and of a run without metrics.jsonl the weights. It trains and evaluates nothing.
/// DataError if the path holds neither, or something damaged.
Diagnosis diagnose_run(const std::filesystem::path& run, const DiagnoseOptions& options = {});

/// Options of the command line: "dead=0.2" or "diagnose.dead=0.2". ConfigError as elsewhere.
DiagnoseOptions read_diagnose(const std::vector<std::string>& sets);

nlohmann::ordered_json to_json(const Diagnosis& diagnosis);

/// For people.
std::string to_text(const Diagnosis& diagnosis);

}  // namespace sae
