#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "config/fields_json.h"
#include "sae/base/text.h"
#include "sae/models/architectures.h"
#include "sae/tools/bench.h"

namespace sae {
namespace {

/// A case of the file that `check_bench` reads.
struct Recorded {
  std::string arch;
  std::int64_t d = 0, n = 0, batch = 0;
  double k = 0;
  Screening screening = Screening::kAuto;
  double gemms_per_step = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("arch", self.arch, one_of(architecture_names()), "architecture");
    visit("d", self.d, at_least(1), "D");
    visit("n", self.n, at_least(1), "F");
    visit("k", self.k, above(0), "K");
    visit("batch", self.batch, at_least(1), "B");
    visit("screening", self.screening, any, "train.screening");
    visit("gemms_per_step", self.gemms_per_step, above(0), "as measured when it was recorded");
  }
};

BenchCase case_of(const Recorded& recorded) {
  return {recorded.arch, recorded.d, recorded.n, recorded.k, recorded.batch};
}

struct RecordedBasics {
  double tolerance = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("tolerance", self.tolerance, above(1), "how many times the record a case may cost");
  }
};

}  // namespace

bool check_bench(const std::string& path, const BenchOptions& options_in,
                 const std::function<void(const std::string&)>& report) {
  const ConfigNode file = read_config(path);
  const auto basics = read_fields<RecordedBasics>(file.without({"cases"}));
  const ConfigNode cases = file.at("cases");
  std::vector<BenchCase> measured;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    measured.push_back(case_of(read_fields<Recorded>(cases.at(i))));
  }
  require_measurable(measured, options_in);
  bool good = true;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto recorded = read_fields<Recorded>(cases.at(i));
    if (recorded.screening == Screening::kOn && !screens_by_default()) continue;
    BenchOptions options = options_in;
    options.screening = recorded.screening;
    const BenchCase one = case_of(recorded);
    const double most = basics.tolerance * recorded.gemms_per_step;
    double got = INFINITY;
    for (int attempt = 0; attempt < 3 && got > most; ++attempt) {
      const BenchResult result = bench(one, options);
      got = std::min(got, result.fastest_step_s / result.gemm_s);
    }
    report(one.architecture + ", screening " + name_of(options.screening) + ": " + fixed(got, 2) +
           " GEMMs a step, at most " + fixed(most, 2) + (got > most ? ": too slow" : ""));
    good = good && got <= most;
  }
  return good;
}

}  // namespace sae
