// Options of the suite `interp`: how well one can tell what a latent stands for (interp.h).
#pragma once

#include <cstdint>

#include "sae/config/fields.h"

namespace sae {

struct InterpOptions {
  std::int64_t rows = 50'000;
  std::int64_t per_context = 16;
  std::int64_t min_rows = 50;
  std::int64_t min_contexts = 20;
  double max_share = 0.1;
  std::int64_t quantiles = 5;
  std::int64_t items = 40;
  std::int64_t token_rows = 1'000'000;
  std::int64_t draws = 1000;
  bool latents = true;
  std::int64_t seed = 0;
  std::int64_t batch = 1024;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("rows", self.rows, at_least(1), "rows of the sample, without a judge file that has them");
    visit("per_context", self.per_context, at_least(1), "most of them from one context");
    visit("min_rows", self.min_rows, at_least(1),
          "a latent that fires on fewer rows of the sample is too rare");
    visit("min_contexts", self.min_contexts, at_least(5),
          "likewise one that fires in fewer contexts");
    visit("max_share", self.max_share, unit_interval(),
          "one that fires on a larger share of the sample is too dense");
    visit("quantiles", self.quantiles, at_least(1),
          "groups of a latent's activations, of equal size, weakest first");
    visit("items", self.items, at_least(10), "intruder items of a latent");
    visit("token_rows", self.token_rows, at_least(1),
          "rows that the token metrics rest on, in whole contexts; of a larger store a share");
    visit("draws", self.draws, at_least(2), "bootstrap draws of the errors");
    visit("latents", self.latents, any, "list every eligible latent's numbers in the JSON");
    visit("seed", self.seed, at_least(0), "of the sample, the items and the bootstrap");
    visit("batch", self.batch, at_least(1), "rows encoded at a time");
  }
};

}  // namespace sae
