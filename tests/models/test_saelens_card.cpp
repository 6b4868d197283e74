#include "support/convert_testing.h"

namespace sae {
namespace {

PlainSae topk() { return saelens_format().read(ConvertGolden("saelens_topk").folder); }

std::string card_of(const PlainSae& plain) {
  const TemporaryFolder folder;
  saelens_format().write(folder.path() / "out", plain);
  return read_file(folder.path() / "out" / "README.md");
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(SaelensCard, SaysWhatIsKnown) {
  PlainSae plain = topk();
  plain.training =
      Json{{"train", {{"steps", 200}}}, {"data", {{"kind", "store"}, {"path", "/home/me/acts"}}}};
  const std::string card = card_of(plain);
  const std::string front =
      "---\nlibrary_name: saelens\ntags:\n- saelens\n- sparse-autoencoder\n"
      "- mechanistic-interpretability\n---\n\n# Sparse autoencoder of `blocks.5.hook_mlp_out` in "
      "`gpt2-small`\n\n";
  EXPECT_EQ(card.substr(0, front.size()), front);
  for (const char* row :
       {"| inputs | 6 |\n", "| latents | 16 |\n", "| activation | topk with k 3 |\n",
        "| data | `monology/pile-uncopyrighted` |\n", "| tokens of context | 256 |\n",
        "SAE.load_from_disk(", "# [tokens, 6] to [tokens, 16]\n", "    \"steps\": 200\n",
        "Converted from the format of `saelens`"}) {
    EXPECT_TRUE(has(card, row)) << row << "\n" << card;
  }
  EXPECT_FALSE(has(card, "/home/me")) << "where data lay is nobody's business";
  plain.source["model"] = "gemma-2-2b";
  plain.training["data"] = Json{{"kind", "synthetic"}, {"preset", "tiny"}};
  const std::string gemma = card_of(plain);
  EXPECT_TRUE(has(gemma, "- mechanistic-interpretability\nbase_model: google/gemma-2-2b\n---\n"));
  EXPECT_TRUE(has(gemma, "\"preset\": \"tiny\""));
}

TEST(SaelensCard, LeavesOutWhatIsUnknown) {
  PlainSae plain = topk();
  plain.source = Json::object();
  plain.training = plain.origin = nullptr;
  const std::string card = card_of(plain);
  EXPECT_TRUE(has(card, "---\n\n# Sparse autoencoder\n\n| | |\n"));
  for (const char* part : {"base_model", "| model |", "| hook |", "| data |", "BOS", "context",
                           "special tokens", "## Training", "Converted", "license"}) {
    EXPECT_FALSE(has(card, part)) << part << "\n" << card;
  }
}

TEST(SaelensCard, TakesNamesForNamesWhateverTheyAre) {
  PlainSae plain = topk();
  plain.source["model"] = "a/b\nlicense: mit\n---\n# `x` | y";
  plain.source["dataset"] = "one\n| two | `three`";
  const std::string card = card_of(plain);
  EXPECT_FALSE(has(card, "base_model")) << card;
  EXPECT_FALSE(has(card, "\nlicense")) << card;
  EXPECT_TRUE(has(card, " in `a/b?license: mit?---?# 'x' / y`\n")) << card;
  EXPECT_TRUE(has(card, "| data | `one?/ two / 'three'` |\n")) << card;
}

}  // namespace
}  // namespace sae
