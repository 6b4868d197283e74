// `train.from`: a run that starts from an autoencoder that is there already.
#include "sae/base/error.h"
#include "sae/base/sha256.h"
#include "sae/data/store.h"
#include "sae/models/sae_folder.h"
#include "sae/tools/info.h"
#include "sae/training/open.h"
#include "support/convert_testing.h"
#include "support/ranks_testing.h"
#include "support/run_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kInputs = 6, kLatents = 16;  // of the goldens

class StartFrom : public ::testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }

  /// A run of `model` on raw activations far from 0 and of no common size, mapped while training.
  Json config(Json model, const fs::path& from, std::int64_t d_in = kInputs) {
    const fs::path store = path("store" + std::to_string(d_in));
    if (!fs::exists(store)) {
      StoreWriter writer(store, d_in, at::kFloat, {{"model", "test"}});
      writer.append((2 * normal({900, d_in}, 8) + 1.5).to(at::kFloat));
      writer.finish();
    }
    if (!model.contains("d_sae")) model["d_sae"] = kLatents;
    Json config = tiny_config(model, 30);
    config["data"] = {{"kind", "store"}, {"path", store.string()}};
    config["train"]["input_norm"] = "sqrt_d";
    config["train"]["input_centre"] = "mean";
    config["train"]["from"] = from.string();
    return config;
  }

  at::Tensor rows() {
    return ActivationStore(path("store6"), /*verify_checksums=*/false).rows(0, 400);
  }

  TrainingRun begun(const Json& config, const std::string& name) {
    const RunOptions options = tiny_run(config);
    return TrainingRun(options, open_data(options.data, 0), path(name), false);
  }

  std::string notices_of(const TrainingRun& run) {
    std::string text;
    for (const Notice& notice : run.notices()) text += notice.text + "\n";
    return text;
  }

 private:
  TemporaryFolder folder_;
};

double explained(const at::Tensor& x, const at::Tensor& x_hat) {
  return 1 - ((x - x_hat).square().sum() / (x - x.mean(0)).square().sum())
                 .to(at::kDouble)
                 .item<double>();
}

struct Case {
  const char* golden;
  const char* architecture;
};

TEST_F(StartFrom, OfRawActivationsAnyFormatsFunctionIsKeptAtTheFirstStep) {
  for (const Case& one : {Case{"saelens_topk", "topk"},
                          {"saelens_topk_checkpoint", "topk"},  // its input scale folded
                          {"saelens_standard", "standard"},     // reads x, not x - b_dec
                          {"saelens_standard", "atm"},
                          {"saelens_jumprelu", "jumprelu"},
                          {"saelens_batchtopk_finished", "batch_topk"},
                          {"saelens_batchtopk_finished", "jumprelu"},
                          {"saelens_matryoshka_batchtopk_finished", "matryoshka"},
                          {"dictionary_learning_autoencoder_free", "standard"},
                          {"dictionary_learning_batchtopk", "batch_topk"},
                          {"gemma_scope/layer_12/width_16/average_l0_5", "jumprelu"},
                          {"sparsify_run/layers.3", "topk"}}) {
    for (const char* norm : {"unit", "free"}) {
      SCOPED_TRACE(std::string(one.golden) + " as " + one.architecture + ", " + norm);
      const fs::path from = fs::path(SAE_SOURCE_DIR) / "tests/golden/convert" / one.golden;
      Json model{{"architecture", one.architecture}, {"decoder_norm", norm}};
      const std::string name = one.architecture;
      if (name == "topk" || name == "batch_topk" || name == "matryoshka") model["k"] = 3;
      if (name == "matryoshka") model["widths"] = {4, 8, 16};
      if (name == "atm") model["mask"] = {{"warmup_steps", 5}};
      const PlainSae plain = detect_format(from).read(from);
      const bool scaled = !has_unit_decoder(plain) && std::string(norm) == "unit";
      if (scaled && plain.activation == Activation::kTopK) continue;  // may pick others: said below
      if (scaled && name == "batch_topk") continue;                   // one threshold for all
      if (scaled && name == "matryoshka") continue;
      fs::remove_all(path("run"));
      TrainingRun run = begun(config(model, from), "run");
      EXPECT_NE(run.trainer().input_scale(), 1);
      const SaeFolder kept = open_sae(path("run")).folder;
      const at::Tensor x = rows();
      const at::Tensor f = encode(plain, x), x_hat = decode(plain, f);
      const Codes codes = kept.sae->encode(x);
      const at::Tensor norms = scaled ? plain.W_dec.norm(2, 1) : at::ones({kLatents});
      expect_close(codes.to_dense(), f * norms, "latents", 2e-5);
      expect_close(kept.sae->decode(codes), x_hat, "reconstruction", 2e-5);
      EXPECT_NEAR(explained(x, kept.sae->decode(codes)), explained(x, x_hat), 1e-5);
      EXPECT_GT((f > 0).sum().item<std::int64_t>(), 100) << "nothing fires: nothing is compared";
    }
  }
}

TEST_F(StartFrom, WhatCannotBeKeptIsSaid) {
  const auto said_of = [&](const fs::path& from, const Json& model) {
    fs::remove_all(path("run"));
    const TrainingRun run = begun(config(model, from), "run");
    return notices_of(run);
  };
  const auto said = [&](const char* golden, const Json& model) {
    return said_of(ConvertGolden(golden).folder, model);
  };
  const auto expect_said = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  const std::string same =
      said("saelens_standard", {{"architecture", "standard"}, {"decoder_norm", "free"}});
  expect_said(same, "saelens_standard (saelens): relu, 16 latents");
  EXPECT_EQ(same.find("not kept"), std::string::npos) << same;
  expect_said(said("saelens_topk", {{"architecture", "atm"}}),
              "its choice of k latents a token is not kept: every latent with a positive");
  expect_said(said("saelens_topk", {{"architecture", "topk"}, {"k", 5}}),
              "its k 3 is not kept: the 5 largest of a token fire");
  const SpoiltCopy long_rows("saelens_topk");
  long_rows.set("cfg.json", "rescale_acts_by_decoder_norm", false);
  long_rows.change_tensors("sae_weights.safetensors",
                           [](auto& tensors) { tensors["W_dec"] = 2 * tensors["W_dec"]; });
  expect_said(said_of(long_rows.path(), {{"architecture", "topk"}, {"k", 3}}),
              "its decoder rows are brought to norm 1");
  expect_said(said("saelens_topk", {{"architecture", "batch_topk"}, {"k", 3}}),
              "a threshold is found in the first steps");
  expect_said(said("saelens_topk", {{"architecture", "jumprelu"}}),
              "thresholds start at threshold_init");
  expect_said(said("saelens_jumprelu", {{"architecture", "standard"}}),
              "its thresholds are not kept: every latent");
  expect_said(said("saelens_jumprelu", {{"architecture", "batch_topk"}, {"k", 3}}),
              "one for all starts at their mean");
  expect_said(said("saelens_standard", {{"architecture", "topk"}, {"k", 3}}),
              "its ReLU is not kept: the 3 largest");
  expect_said(said("saelens_matryoshka_batchtopk_finished",
                   {{"architecture", "matryoshka"}, {"k", 3}, {"widths", {2, 16}}}),
              "its nested prefixes are not those of this run");
}

TEST_F(StartFrom, LatentsBeyondThoseOfTheFileStartAsUsual) {
  const fs::path from = ConvertGolden("saelens_jumprelu").folder;
  const Json json =
      config({{"architecture", "jumprelu"}, {"d_sae", 21}, {"decoder_norm", "unit"}}, from);
  TrainingRun run = begun(json, "run");
  EXPECT_NE(notices_of(run).find("16 latents; 5 more start at random"), std::string::npos);
  const Autoencoder& sae = *run.trainer().autoencoder();
  const auto usual = make_autoencoder(config_from_json(
      Json{{"architecture", "jumprelu"}, {"d_in", kInputs}, {"d_sae", 21}}, "test"));
  usual->initialise(0);
  for (const char* name : {"W_enc", "b_enc", "W_dec", "threshold"}) {
    EXPECT_TRUE(at::equal(sae.named_parameters()[name].slice(0, 16),
                          usual->named_parameters()[name].slice(0, 16)))
        << name;
  }
  const PlainSae plain = with_unit_decoder(detect_format(from).read(from));
  expect_close(sae.W_dec.slice(0, 0, 16), plain.W_dec, "", 1e-6);
  expect_close(sae.W_enc.slice(0, 0, 16), plain.W_enc, "", 1e-6);
}

TEST_F(StartFrom, WeightsOfLowerPrecisionAreTakenAsTheyAre) {
  const SpoiltCopy copy("saelens_topk");
  copy.set("cfg.json", "rescale_acts_by_decoder_norm", false);
  const PlainSae exact = detect_format(copy.path()).read(copy.path());
  copy.set("cfg.json", "dtype", "bfloat16");
  copy.change_tensors("sae_weights.safetensors", [](auto& tensors) {
    for (auto& [name, tensor] : tensors) tensor = tensor.to(at::kBFloat16);
  });
  Json json = config({{"architecture", "topk"}, {"k", 3}, {"decoder_norm", "free"}}, copy.path());
  json["train"]["input_norm"] = "none";
  json["train"]["input_centre"] = "none";
  const TrainingRun run = begun(json, "run");
  const auto sae = open_sae(path("run")).folder.sae;
  for (const auto& [name, weights] :
       {std::pair{"W_enc", exact.W_enc}, {"b_enc", exact.b_enc}, {"W_dec", exact.W_dec}}) {
    const at::Tensor& taken = sae->named_parameters()[name];
    EXPECT_EQ(taken.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::equal(taken, weights.to(at::kBFloat16).to(at::kFloat))) << name;
    EXPECT_FALSE(at::equal(taken, weights)) << name << " has no more bits than bfloat16";
  }
}

TEST_F(StartFrom, WhatCannotBeStartedFromIsRefusedBeforeAnythingIsWritten) {
  const fs::path golden = ConvertGolden("saelens_topk").folder;
  const Json topk{{"architecture", "topk"}, {"k", 3}};
  const auto refused = [&](const Json& json) {
    return [&, json] {
      try {
        train(tiny_run(json), path("run"), false);
      } catch (...) {
        EXPECT_FALSE(fs::exists(path("run")));
        throw;
      }
    };
  };
  expect_refused<ConfigError>(refused(config(topk, golden, 7)),
                              {"train.from: ", "has inputs of width 6, the data has 7; expected"});
  Json few = topk;
  few["d_sae"] = 12;
  expect_refused<ConfigError>(
      refused(config(few, golden)),
      {"train.from: ", "has 16 latents, model.d_sae is 12; expected at least 16"});
  expect_refused<DataError>(refused(config(topk, path("absent"))), {"absent: no such file"});
  expect_refused<DataError>(refused(config(topk, path("store6"))), {"got an activation store"});
  const SpoiltCopy torn("saelens_topk");
  fs::resize_file(torn.path() / "sae_weights.safetensors", 100);
  expect_refused<DataError>(refused(config(topk, torn.path())), {"sae_weights.safetensors"});
  const SpoiltCopy unknown("saelens_topk");
  unknown.set("cfg.json", "architecture", "temporal");
  expect_refused<DataError>(refused(config(topk, unknown.path())), {"temporal"});
  Json two = config(topk, golden);
  two["train"]["b_dec_init"] = "zero";
  const RunOptions options = tiny_run(two);
  ASSERT_EQ(options.notices.size(), 1U);
  EXPECT_NE(options.notices[0].text.find("train.b_dec_init: is not used with from"),
            std::string::npos);
}

TEST_F(StartFrom, ItIsRecordedAndResumingNeedsItNoMore) {
  const SpoiltCopy copy("saelens_topk");
  const Json mask{
      {"draw", "nested"}, {"paths", "both"}, {"importance", "frequency"}, {"warmup_steps", 5}};
  const Json json = config({{"architecture", "topk"},
                            {"k", 3},
                            {"freeze", "soft_decoder"},
                            {"mask", mask},
                            {"decoder_norm", "free"}},
                           copy.path());
  train(tiny_run(json), path("once"), false);
  RunHooks hooks;
  int steps = 0;
  hooks.should_stop = [&] { return ++steps == 13; };
  train(tiny_run(json), path("stopped"), false, hooks);
  const std::string digest = sha256_of_file(copy.path() / "sae_weights.safetensors");
  const auto expect_recorded = [&](const Json& from) {
    EXPECT_EQ(from["path"], copy.path().string());
    EXPECT_EQ(from["format"], "saelens");
    EXPECT_EQ(from["function"], "topk with k 3");
    EXPECT_EQ(from["sha256"]["sae_weights.safetensors"], digest);
    EXPECT_TRUE(from["sha256"].contains("cfg.json"));
  };
  expect_recorded(describe_path(path("stopped"))["started_from"]);
  fs::remove_all(copy.path());
  train(tiny_run(json), path("stopped"), true);
  expect_same_run(path("once"), path("stopped"));
  for (const char* run : {"once", "stopped"}) {
    EXPECT_EQ(parsed(path(run) / "config.json")["train"]["from"], copy.path().string());
    expect_recorded(parsed(path(run) / "summary.json")["started_from"]);
    expect_recorded(parsed(path(run) / "sae" / "config.json")["started_from"]);
    expect_recorded(describe_path(path(run))["started_from"]);
    expect_recorded(describe_path(path(run) / "sae")["started_from"]);
  }
  // Rows of a soft decoder are held to those of the file.
  const auto sae = load_sae(path("once") / "sae").sae;
  const at::Tensor start = buffer(*sae, "decoder_start");
  const PlainSae plain = detect_format(ConvertGolden("saelens_topk").folder)
                             .read(ConvertGolden("saelens_topk").folder);
  expect_close(start, plain.W_dec / plain.W_dec.norm(2, 1, true), "", 1e-6);
  EXPECT_GE(((sae->W_dec * start).sum(1) / sae->W_dec.norm(2, 1)).min().item<double>(), 0.8 - 1e-5);
  Json other = json;
  other["train"]["from"] = "";
  expect_refused<ConfigError>([&] { train(tiny_run(other), path("once"), true); },
                              {"another configuration: train.from is"});
}

TEST_F(StartFrom, KilledBeforeItsFirstCheckpointItStartsFromTheFileAgain) {
  const SpoiltCopy copy("saelens_topk");
  const Json json = config({{"architecture", "topk"}, {"k", 3}}, copy.path());
  train(tiny_run(json), path("once"), false);
  begun(json, "killed");
  EXPECT_TRUE(fs::exists(path("killed") / "checkpoints" / "step-00000000"));
  fs::remove_all(path("killed") / "checkpoints");
  const fs::path aside = path("aside");
  fs::rename(copy.path(), aside);
  expect_refused<DataError>([&] { train(tiny_run(json), path("killed"), true); },
                            {copy.path().string() + ": no such file"});
  fs::rename(aside, copy.path());
  train(tiny_run(json), path("killed"), true);
  expect_same_run(path("once"), path("killed"));
}

TEST_F(StartFrom, RunsAndCheckpointsOfOursAreTakenToo) {
  Json first = config({{"architecture", "jumprelu"}, {"d_sae", 20}}, "");
  train(tiny_run(first), path("first"), false);
  for (const fs::path& from :
       {path("first"), path("first") / "sae", path("first") / "checkpoints" / "step-00000020"}) {
    SCOPED_TRACE(from);
    fs::remove_all(path("run"));
    TrainingRun run = begun(config({{"architecture", "jumprelu"}, {"d_sae", 20}}, from), "run");
    const auto before = open_sae(from).folder.sae, now = open_sae(path("run")).folder.sae;
    const at::Tensor x = rows();
    expect_close(now->encode(x).to_dense(), before->encode(x).to_dense(), "latents", 1e-5);
    for (const char* name : {"W_enc", "W_dec"}) {
      EXPECT_TRUE(at::equal(now->named_parameters()[name], before->named_parameters()[name]));
    }
  }
}

TEST_F(StartFrom, OverRanksEachTakesItsOwnLatents) {
  const fs::path from = ConvertGolden("saelens_jumprelu").folder;
  const Json json =
      config({{"architecture", "jumprelu"}, {"d_sae", 21}, {"freeze", "soft_decoder"}}, from);
  train(tiny_run(json), path("alone"), false);
  expect_none(on_ranks(4, [&](const Group& world) {
    train(tiny_run(json), path("ranks"), false, {}, mesh_of(world, 2, 2));
  }));
  const auto alone = load_sae(path("alone") / "sae").sae,
             ranks = load_sae(path("ranks") / "sae").sae;
  for (const auto& item : alone->named_parameters()) {
    expect_close(ranks->named_parameters()[item.key()], item.value(), item.key(), 2e-3);
  }
  EXPECT_EQ(parsed(path("alone") / "summary.json")["started_from"],
            parsed(path("ranks") / "summary.json")["started_from"]);
}

}  // namespace
}  // namespace sae
