// What the sources of the absorption metric share.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "sae/evaluation/absorption.h"

namespace sae {

/// The rules of ClassAbsorption::fraction_open.
AbsorptionRules open_rules(const AbsorptionRules& rules);

struct AbsorberShare {
  std::int64_t latent;
  double share;  ///< q / A, at most 1
};

/// Who carries a word that has this score (see Absorber), largest share first; nobody if it is not
/// absorbed. The other arguments as of score_word.
std::vector<AbsorberShare> word_absorbers(const WordAbsorption& score, double projection,
                                          std::span<const std::int64_t> latents,
                                          std::span<const float> activations,
                                          std::span<const float> cosines,
                                          std::span<const std::int64_t> main,
                                          const AbsorptionRules& rules);

/// Adds up the absorbers of one class's words.
class AbsorberTally {
 public:
  static constexpr std::size_t kListed = 10;
  static constexpr std::size_t kExamples = 5;

  void add(std::int64_t row, std::span<const AbsorberShare> shares);

  /// `words` has the word of each row, or none.
  std::vector<Absorber> strongest(const std::vector<std::string>& words) const;

 private:
  struct Sum {
    double share = 0;
    std::vector<std::pair<double, std::int64_t>> rows;  // share in it, row
  };
  std::map<std::int64_t, Sum> sums_;
};

}  // namespace sae
