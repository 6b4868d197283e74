// The text of a store's rows, in pieces that each belong to one token or to several that share a
// character.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sae/data/store.h"
#include "sae/data/vocabulary.h"

namespace sae {

/// One token by itself; without a vocabulary its number: "<17>".
std::string text_of_token(const std::optional<Vocabulary>& vocabulary, std::int64_t token);

/// Rows [first, first + count) of a store that has tokens.
std::vector<Vocabulary::Piece> text_of_rows(const ActivationStore& store,
                                            const std::optional<Vocabulary>& vocabulary,
                                            std::int64_t first, std::int64_t count);

}  // namespace sae
