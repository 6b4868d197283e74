#include "sae/models/topk.h"

#include "sae/config/findings.h"

namespace sae {

void TopKOptions::check(Findings& findings) const {
  base.check(findings);
  aux.check(findings, base.d_sae);
  if (k > base.d_sae) {
    findings.at_most("k", static_cast<double>(k), static_cast<double>(base.d_sae), "d_sae");
  } else if (k == base.d_sae) {
    findings.warn("k", "got all of d_sae: nothing is sparse");
  }
}

void TopKOptions::check(Findings& findings, const RunLength& run) const {
  base.check(findings, run);
}

}  // namespace sae
