// What the sources of the absorption metric share.
#pragma once

#include <string>
#include <vector>

#include "sae/absorption.h"

namespace sae {

/// The rules of ClassAbsorption::fraction_open.
AbsorptionRules open_rules(const AbsorptionRules& rules);

}  // namespace sae
