#include "comparison/one_process.h"

#include <string>

namespace sae {

void require_one_process(const ComparisonPlan& plan, const ConfigNode& document) {
  if (plan.runs.empty()) return;
  const PlannedRun& first = plan.runs.front();
  const RunBasics& common = first.options.basics;
  for (const PlannedRun& run : plan.runs) {
    const RunBasics& own = run.options.basics;
    const auto refuse = [&](const std::string& key, const std::string& a, const std::string& b) {
      document.fail(key + ": '" + first.name + "' has " + a + ", '" + run.name + "' has " + b +
                    ", which is for a whole process; compare them in two");
    };
    if ((own.precision == Precision::kTf32) != (common.precision == Precision::kTf32)) {
      refuse("precision", name_of(common.precision), name_of(own.precision));
    }
    if (own.kernels != common.kernels) {
      refuse("kernels", name_of(common.kernels), name_of(own.kernels));
    }
  }
}

}  // namespace sae
