#include "tools/blind/windows.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <span>
#include <utility>

#include "tools/blind/draws.h"

namespace sae {

TextWindow window_around(const ActivationStore& store, std::int64_t row) {
  const std::int64_t begin = std::max<std::int64_t>(0, row - kWindowTokens);
  const std::int64_t end = std::min(store.size(), row + kWindowTokens + 1);
  const at::Tensor ids = store.context(begin, end - begin).contiguous();
  const auto* id = ids.const_data_ptr<std::int32_t>();
  std::int64_t first = row, last = row;
  while (first > begin && id[first - 1 - begin] == id[row - begin]) --first;
  while (last + 1 < end && id[last + 1 - begin] == id[row - begin]) ++last;
  return {row, first, last + 1 - first};
}

MarkedText marked_text(const ActivationStore& store, const Vocabulary& vocabulary,
                       const TextWindow& window, const std::vector<std::int64_t>& marks) {
  const at::Tensor tokens = store.tokens(window.first, window.rows).contiguous();
  const std::span<const std::int32_t> list(tokens.const_data_ptr<std::int32_t>(),
                                           static_cast<std::size_t>(window.rows));
  MarkedText out(1);
  std::int64_t offset = window.first - window.row;
  for (const Vocabulary::Piece& piece : vocabulary.pieces(list)) {
    const std::int64_t begin =
        std::exchange(offset, offset + static_cast<std::int64_t>(piece.tokens));
    const auto mark = std::lower_bound(marks.begin(), marks.end(), begin);
    const bool marked = mark != marks.end() && *mark < offset;
    const bool inside = out.size() % 2 == 0;  // of a mark
    if (!marked) {
      if (inside) out.emplace_back();
      out.back() += piece.text;
    } else if (inside) {
      out.back() += piece.text;
    } else {
      std::size_t blanks = piece.text.find_first_not_of(' ');
      if (blanks == std::string::npos) blanks = 0;  // blanks alone are what is marked
      out.back() += piece.text.substr(0, blanks);
      out.push_back(piece.text.substr(blanks));
    }
  }
  return out;
}

std::vector<std::int64_t> intruder_marks(const std::vector<std::vector<std::int64_t>>& others,
                                         const TextWindow& window, Rng rng) {
  std::vector<std::int64_t> likely;
  std::size_t total = 0;
  for (const std::vector<std::int64_t>& marks : others) {
    total += marks.size();
    likely.insert(likely.end(), marks.begin(), marks.end());
  }
  std::vector<std::int64_t> rest(static_cast<std::size_t>(window.rows));
  std::iota(rest.begin(), rest.end(), window.first - window.row);
  blind_draw::shuffle(likely, rng);
  blind_draw::shuffle(rest, rng);
  likely.insert(likely.end(), rest.begin(), rest.end());
  const auto mean = static_cast<double>(total) / static_cast<double>(others.size());
  const auto wanted = std::min(static_cast<std::size_t>(std::max(1L, std::lround(mean))),
                               static_cast<std::size_t>(window.rows));
  std::set<std::int64_t> marks = {0};
  for (std::size_t i = 0; i < likely.size() && marks.size() < wanted; ++i) {
    if (window.contains(likely[i])) marks.insert(likely[i]);
  }
  return {marks.begin(), marks.end()};
}

}  // namespace sae
