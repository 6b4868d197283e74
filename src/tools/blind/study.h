// What is asked, in the order in which it is shown, from what has been chosen.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "tools/blind/formats.h"
#include "tools/blind/page.h"
#include "tools/blind/selection.h"

namespace sae {

/// An item's rows of the sample as rows of the store.
std::array<std::int64_t, kTextsOfItem> store_rows(const InterpSample& sample,
                                                  const std::array<std::int32_t, 5>& rows);

/// Page and key of the same items.
struct BlindStudy {
  std::vector<ShownItem> shown;
  std::vector<KeyItem> key;
  std::int64_t repeats = 0;
};

/// The places of `items` in the order shown: a permutation of all of them, in which a tenth, all
/// from the first third, come again in the last third.
std::vector<std::size_t> shown_order(std::size_t items, std::int64_t seed);

/// `texts(i)`: the five texts of chosen item i, in the order of its rows, the same each time.
BlindStudy arrange(const std::vector<ChosenItem>& chosen, const InterpSample& sample,
                   const std::function<std::vector<MarkedText>(std::size_t)>& texts,
                   std::int64_t seed);

/// Items to practise on, whose answer is plain: four windows with one token, marked, and one
/// without. They are of no latent. Tokens that are whole words come first; fewer than `count` where
/// there are not enough tokens.
std::vector<PracticeItem> practice_items(const ActivationStore& store, const Vocabulary& vocabulary,
                                         const InterpSample& sample, std::int64_t count,
                                         std::int64_t seed);

/// Five texts in the order of an item's rows: marks of the four where `fires` says, in their
/// windows, and as many in the intruder's.
std::vector<MarkedText> texts_of(
    const ActivationStore& store, const Vocabulary& vocabulary,
    const std::array<std::int64_t, kTextsOfItem>& rows, const Rng& rng,
    const std::function<std::vector<std::int64_t>(const TextWindow&)>& fires);

}  // namespace sae
