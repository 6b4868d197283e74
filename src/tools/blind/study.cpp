#include "tools/blind/study.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <tuple>
#include <utility>

#include "sae/base/sha256.h"
#include "tools/blind/draws.h"

namespace sae {
namespace {

constexpr double kRepeated = 0.1;
constexpr std::size_t kPracticeContexts = 8;
constexpr std::size_t kWordBytes = 5;  // a blank and four letters

/// The places of an item's texts in the order shown.
std::vector<std::size_t> shown_places(Rng rng) {
  std::vector<std::size_t> places(kTextsOfItem);
  std::iota(places.begin(), places.end(), 0);
  blind_draw::shuffle(places, rng);
  return places;
}

std::int64_t place_of_intruder(const std::vector<std::size_t>& places) {
  return std::find(places.begin(), places.end(), kTextsOfItem - 1) - places.begin() + 1;
}

std::vector<MarkedText> in_places(const std::vector<MarkedText>& texts,
                                  const std::vector<std::size_t>& places) {
  std::vector<MarkedText> out;
  for (const std::size_t place : places) out.push_back(texts[place]);
  return out;
}

bool is_word(const std::string& text) {
  return text.size() >= kWordBytes && std::all_of(text.begin(), text.end(), [](char c) {
           const bool ascii = static_cast<unsigned char>(c) < 0x80;
           return !ascii || c == ' ' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
         });
}

/// Tokens of the sample that may be practised on, words first, else in the order of a hash.
std::vector<std::int32_t> practice_tokens(const Vocabulary& vocabulary, const InterpSample& sample,
                                          std::int64_t seed) {
  std::vector<std::tuple<bool, std::uint32_t, std::int32_t>> tokens;
  std::set<std::int32_t> seen;
  for (std::int64_t row = 0; row < sample.size(); ++row) {
    const std::int32_t token = sample.token(static_cast<std::int32_t>(row));
    if (!seen.insert(token).second) continue;
    const auto rows = sample.rows_of_token(token);
    std::set<std::int32_t> contexts;
    for (const std::int32_t own : rows) contexts.insert(sample.context(own));
    if (contexts.size() < kPracticeContexts || 4 * std::ssize(rows) > sample.size()) continue;
    const std::uint32_t hash =
        blind_draw::rng(seed, blind_draw::kPractice | static_cast<std::uint32_t>(token)).next();
    tokens.emplace_back(!is_word(vocabulary.text(token)), hash, token);
  }
  std::sort(tokens.begin(), tokens.end());
  std::vector<std::int32_t> out;
  for (const auto& [other, hash, token] : tokens) out.push_back(token);
  return out;
}

}  // namespace

std::array<std::int64_t, kTextsOfItem> store_rows(const InterpSample& sample,
                                                  const std::array<std::int32_t, 5>& rows) {
  std::array<std::int64_t, kTextsOfItem> out{};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    out[i] = sample.rows()[static_cast<std::size_t>(rows[i])];
  }
  return out;
}

std::vector<std::size_t> shown_order(std::size_t items, std::int64_t seed) {
  std::vector<std::size_t> order(items);
  std::iota(order.begin(), order.end(), 0);
  Rng rng = blind_draw::rng(seed, blind_draw::kOrder);
  blind_draw::shuffle(order, rng);
  const std::size_t third = items / 3;
  const auto count = static_cast<std::size_t>(std::lround(kRepeated * static_cast<double>(items)));
  std::vector<std::size_t> first(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(third));
  Rng repeats = blind_draw::rng(seed, blind_draw::kRepeats);
  blind_draw::shuffle(first, repeats);
  std::vector<std::size_t> last(order.end() - static_cast<std::ptrdiff_t>(third), order.end());
  last.insert(last.end(), first.begin(),
              first.begin() + static_cast<std::ptrdiff_t>(std::min(count, third)));
  blind_draw::shuffle(last, repeats);
  order.resize(items - third);
  order.insert(order.end(), last.begin(), last.end());
  return order;
}

BlindStudy arrange(const std::vector<ChosenItem>& chosen, const InterpSample& sample,
                   const std::function<std::vector<MarkedText>(std::size_t)>& texts,
                   std::int64_t seed) {
  BlindStudy study;
  std::vector<std::string> first_ids(chosen.size());
  for (const std::size_t number : shown_order(chosen.size(), seed)) {
    const ChosenItem& item = chosen[number];
    const std::size_t place = study.shown.size();
    const auto places = shown_places(blind_draw::rng(seed, blind_draw::kPositions | place));
    ShownItem shown{"", in_places(texts(number), places)};
    // An id says nothing but where in the order which texts are.
    shown.id = sha256_hex(std::to_string(place) + items_json({shown})).substr(0, kItemIdDigits);
    const auto rows = store_rows(sample, item.rows);
    KeyItem key{shown.id,         item.task,       item.member, item.latent,
                item.cell.bin,    item.cell.group, {},          place_of_intruder(places),
                first_ids[number]};
    for (std::size_t i = 0; i < places.size(); ++i) key.rows[i] = rows[places[i]];
    if (key.repeats.empty()) {
      first_ids[number] = key.id;
    } else {
      ++study.repeats;
    }
    study.shown.push_back(std::move(shown));
    study.key.push_back(std::move(key));
  }
  return study;
}

std::vector<PracticeItem> practice_items(const ActivationStore& store, const Vocabulary& vocabulary,
                                         const InterpSample& sample, std::int64_t count,
                                         std::int64_t seed) {
  std::vector<PracticeItem> out;
  for (const std::int32_t token : practice_tokens(vocabulary, sample, seed)) {
    if (std::ssize(out) == count) break;
    const auto rows = sample.rows_of_token(token);
    const Firings firings{{rows.begin(), rows.end()}, std::vector<float>(rows.size(), 1)};
    const auto item =
        intruder_item(sample, firings, {firings.rows}, token, 0, Intruder::kUniform, seed);
    if (!item) continue;
    const auto fires = [&](const TextWindow& window) {
      const at::Tensor tokens = store.tokens(window.first, window.rows).contiguous();
      std::vector<std::int64_t> marks;
      for (std::int64_t i = 0; i < window.rows; ++i) {
        if (tokens.const_data_ptr<std::int32_t>()[i] == token) {
          marks.push_back(window.first + i - window.row);
        }
      }
      return marks;
    };
    const auto purpose = blind_draw::kPractice | std::uint64_t{1} << 40;
    const auto places = shown_places(blind_draw::rng(seed, purpose | out.size() << 32));
    const auto texts = texts_of(store, vocabulary, store_rows(sample, item->rows),
                                blind_draw::rng(seed, purpose | out.size()), fires);
    out.push_back({in_places(texts, places), place_of_intruder(places), vocabulary.text(token)});
  }
  return out;
}

std::vector<MarkedText> texts_of(
    const ActivationStore& store, const Vocabulary& vocabulary,
    const std::array<std::int64_t, kTextsOfItem>& rows, const Rng& rng,
    const std::function<std::vector<std::int64_t>(const TextWindow&)>& fires) {
  std::vector<std::vector<std::int64_t>> marks;
  std::vector<MarkedText> out;
  for (const std::int64_t row : rows) {
    const TextWindow window = window_around(store, row);
    marks.push_back(out.size() + 1 < rows.size() ? fires(window)
                                                 : intruder_marks(marks, window, rng));
    out.push_back(marked_text(store, vocabulary, window, marks.back()));
  }
  return out;
}

}  // namespace sae
