#include "sae/models/atm.h"

#include <utility>

#include "sae/base/error.h"

namespace sae {

Atm::Atm(AtmOptions options) : Standard(std::move(options.standard)) {
  if (!mask()) {
    throw ConfigError(
        "model.mask: got null, expected the options of a mask; without one, "
        "architecture 'standard' is meant");
  }
}

}  // namespace sae
