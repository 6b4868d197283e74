#include "sae/models/atm.h"

#include <string>
#include <utility>

#include "sae/base/error.h"
#include "sae/config/findings.h"

namespace sae {
namespace {

constexpr const char* kNoMask =
    "got null, expected the options of a mask; without one, architecture 'standard' is meant";

}  // namespace

void AtmOptions::check(Findings& findings) const {
  standard.check(findings);
  if (!standard.base.mask) findings.error("mask", kNoMask);
}

void AtmOptions::check(Findings& findings, const RunLength& run) const {
  standard.check(findings, run);
}

Atm::Atm(AtmOptions options) : Standard(std::move(options.standard)) {
  if (!mask()) throw ConfigError(std::string("model.mask: ") + kNoMask);
}

}  // namespace sae
