// The options of a run over many processes.
#pragma once

#include <cstdint>

#include "sae/config/fields.h"

namespace sae {

struct DistributedOptions {
  std::int64_t latents = 0;
  std::int64_t data = 1;
  std::int64_t timeout_s = 300;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("latents", self.latents, at_least(0),
          "ranks that latents are split over, each with all tokens of a batch; 0: all that data "
          "leaves");
    visit("data", self.data, at_least(1), "ranks that every batch is split over");
    visit("timeout_s", self.timeout_s, at_least(1),
          "seconds after which a rank that does not answer counts as lost");
  }
};

}  // namespace sae
