// Autoencoders and a store with text for the tests of `sae blind`, and raters of known skill.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "sae/base/rng.h"
#include "sae/config/config_node.h"
#include "sae/data/store.h"
#include "sae/models/architectures.h"
#include "sae/models/sae_folder.h"
#include "support/run_testing.h"
#include "support/sae_testing.h"
#include "tools/blind/formats.h"

namespace sae {

inline constexpr std::int64_t kBlindRows = 4000;
inline constexpr std::int64_t kBlindContext = 10;

/// TopK with random directions, which fire on about a twentieth of normal rows each.
inline std::shared_ptr<Autoencoder> save_blind_member(const std::filesystem::path& folder,
                                                      std::uint64_t index) {
  const Json model = resolve_model(
      config_from_json({{"architecture", "topk"}, {"d_in", 6}, {"d_sae", 40}, {"k", 2}}, "test"));
  auto sae = make_autoencoder(config_from_json(model, "test"));
  sae->initialise(index);
  save_sae(folder, *sae, model, 1, {{"source", "here"}});
  return sae;
}

/// Words without digits; the first would do harm as markup, two of them share a character.
inline Json blind_vocabulary() {
  Json tokens = {"</script>", " <b>bold", "\n", "<F0 9F>", "<90 95>"};
  for (char a = 'a'; a <= 'e'; ++a) {
    for (char b = 'a'; b <= 'e'; ++b) tokens.push_back(std::string(" word") + a + b);
  }
  return {{"format", "sae-vocabulary"},
          {"version", 2},
          {"tokens", tokens},
          {"bytes", {{"3", "f09f"}, {"4", "9095"}}}};
}

/// Normal rows with random tokens, in contexts of kBlindContext.
inline void save_blind_store(const std::filesystem::path& folder, bool vocabulary = true) {
  StoreWriter writer(folder, 6, at::kFloat, {{"model", "m"}, {"hook_name", "h"}});
  std::vector<std::int64_t> tokens;
  Rng rng(5, Stream::kTest, 0);
  for (std::int64_t i = 0; i < kBlindRows; ++i) {
    tokens.push_back(static_cast<std::int64_t>(rng.below(30)));
  }
  writer.append(normal({kBlindRows, 6}, 3).to(at::kFloat), at::tensor(tokens),
                at::arange(kBlindRows).div(kBlindContext, "floor"));
  if (vocabulary) writer.add_file("vocabulary.json", blind_vocabulary().dump());
  writer.finish();
}

inline BlindKey key_in(const std::filesystem::path& folder) {
  return parse_blind_key(read_file(folder / "key.json"), "key");
}

/// Answers of one person to every item, `choice` being asked for each.
inline Json blind_answers(const BlindKey& key, const std::string& rater,
                          const std::function<std::int64_t(const KeyItem&)>& choice) {
  Json list = Json::array();
  for (const KeyItem& item : key.items) {
    list.push_back({{"id", item.id}, {"choice", choice(item)}, {"ms", 1000 + 10 * list.size()}});
  }
  return {{"format", "sae-blind-answers"},
          {"version", 1},
          {"sha256", key.sha256},
          {"rater", rater},
          {"answers", list}};
}

inline std::int64_t wrong_choice(const KeyItem& item) { return item.intruder % 5 + 1; }

}  // namespace sae
