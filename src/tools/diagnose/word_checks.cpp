// Whether absorption on words can be believed: what `sae eval` or `sae compare` measured of a run
// on classes of words, held against the same run on text.
#include <cmath>

#include "tools/diagnose/checks.h"

namespace sae::diagnose {
namespace {

constexpr const char* kNoWords =
    "absorption on words was not measured: the run's folder has no evaluation.json with it, which "
    "sae compare writes and sae eval --suite absorption --json prints";

}  // namespace

Check check_words_l0(const RunRecord& run, const DiagnoseOptions& limits) {
  const double on_words = value_in(run.words, "l0");
  const double on_text = value_in(run.held_out, metric::kL0);
  if (!std::isfinite(on_words)) return skipped("words_l0", kNoWords);
  if (!(on_text > 0)) return skipped("words_l0", "there is no evaluation on text to compare with");
  const double ratio = on_words / on_text;
  const bool fired = ratio > limits.words_l0 || ratio * limits.words_l0 < 1;
  Check check{"words_l0",
              fired_if(fired),
              "L0 is " + brief(on_words) + " on the words, " + brief(on_text) + " on text",
              {{metric::kWordsL0, on_words},
               {metric::kL0, on_text},
               {"ratio", ratio},
               {"limit", limits.words_l0}},
              ""};
  const double variance = value_in(run.words, metric::kExplainedVariance);
  if (std::isfinite(variance)) check.evidence.emplace_back(metric::kWordsVariance, variance);
  if (fired) {
    check.change =
        "words are another distribution, on which thresholds let other numbers of latents fire: "
        "compare absorption at a matched L0 on the words (the report's second table), not on text; "
        "an architecture with a fixed number a token (topk) has the same L0 on both";
  }
  return check;
}

Check check_words_latents(const RunRecord& run, const DiagnoseOptions& limits) {
  const double f1 = value_in(run.words, "mean_k1_f1");
  if (!std::isfinite(f1)) return skipped("words_latents", kNoWords);
  const bool fired = f1 < limits.main_f1;
  Check check{"words_latents",
              fired_if(fired),
              "the main latents of classes of words have a mean F1 of " + brief(f1),
              {{metric::kWordsMainF1, f1}, {"limit", limits.main_f1}},
              ""};
  for (const char* name : {"classes_with_main", "mean_full_absorption_score",
                           "mean_full_absorption_score_given_main"}) {
    const double value = value_in(run.words, name);
    if (std::isfinite(value)) check.evidence.emplace_back(std::string("absorption.") + name, value);
  }
  if (fired) {
    check.change =
        "absorption on words measures here whether a latent for a class exists at all, so quote "
        "the scores given a main latent, or none: train on more tokens (train.steps), with more "
        "latents (model.d_sae) or a higher L0, or take a layer where single latents read the "
        "classes";
  }
  return check;
}

}  // namespace sae::diagnose
