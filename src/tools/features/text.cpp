#include "tools/features/text.h"

#include <ATen/core/Tensor.h>

#include <span>

namespace sae {

std::string text_of_token(const std::optional<Vocabulary>& vocabulary, std::int64_t token) {
  return vocabulary ? vocabulary->text(token) : "<" + std::to_string(token) + ">";
}

std::vector<Vocabulary::Piece> text_of_rows(const ActivationStore& store,
                                            const std::optional<Vocabulary>& vocabulary,
                                            std::int64_t first, std::int64_t count) {
  const at::Tensor tokens = store.tokens(first, count);
  const std::span<const std::int32_t> list(tokens.const_data_ptr<std::int32_t>(),
                                           static_cast<std::size_t>(count));
  if (vocabulary) return vocabulary->pieces(list);
  std::vector<Vocabulary::Piece> pieces;
  for (const std::int32_t token : list) pieces.push_back({1, text_of_token(vocabulary, token)});
  return pieces;
}

}  // namespace sae
