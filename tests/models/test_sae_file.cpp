#include "sae/base/error.h"
#include "sae/models/sae_folder.h"
#include "support/run_testing.h"
#include "support/sae_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

Json small(const Json& more) {
  Json model = {{"d_in", 7}};
  model.update(more);
  return resolve_model(config_from_json(model, "test"));
}

std::shared_ptr<Autoencoder> filled(const Json& model) {
  auto sae = make_autoencoder(config_from_json(model, "test"));
  std::uint64_t index = 0;
  for (auto& [name, tensor] : state_of(*sae)) {
    if (tensor.is_floating_point()) tensor.copy_(normal(tensor.sizes(), ++index).abs());
  }
  return sae;
}

TEST(SaeFile, BringsBackEveryArchitecture) {
  const TemporaryFolder folder;
  for (const auto& [name, options] : stateful_models()) {
    const Json model = small(options);
    const auto sae = filled(model);
    save_sae(folder.path() / name, *sae, model, 1, {{"source", "here"}});
    const SaeFolder loaded = load_sae(folder.path() / name);
    expect_same(snapshot(*loaded.sae), snapshot(*sae), name);
    EXPECT_EQ(loaded.config->at("model"), model);
    EXPECT_EQ(loaded.config->at("source"), "here");
  }
}

TEST(SaeFile, SavingDoesNotTouchTheAutoencoder) {
  const TemporaryFolder folder;
  const Json model = small(stateful_models()[5].second);
  const auto sae = filled(model);
  const Tensors before = snapshot(*sae);
  save_sae(folder.path() / "a", *sae, model, 0.25, Json::object());
  expect_same(snapshot(*sae), before);
  expect_close(load_sae(folder.path() / "a").sae->b_enc, sae->b_enc * 4, "b_enc", 1e-6);
}

TEST(SaeFile, NeverReplacesAFolder) {
  const TemporaryFolder folder;
  const Json model = small(stateful_models()[1].second);
  save_sae(folder.path() / "a", *filled(model), model, 1, Json::object());
  EXPECT_THROW(save_sae(folder.path() / "a", *filled(model), model, 1, Json::object()),
               std::system_error);
}

class DamagedSae : public ::testing::Test {
 protected:
  DamagedSae() { save_sae(path(), *filled(model_), model_, 1, Json::object()); }

  fs::path path() const { return folder_.path() / "sae"; }

  /// config.json with one change.
  void edit(const std::function<void(Json&)>& change) {
    Json config = parsed(path() / "config.json");
    change(config);
    write_text(path() / "config.json", config.dump());
  }

  void expect_error(const std::string& part) {
    try {
      load_sae(path());
      ADD_FAILURE() << "no error, expected " << part;
    } catch (const DataError& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
  }

 private:
  TemporaryFolder folder_;
  Json model_ = small(stateful_models()[2].second);
};

TEST_F(DamagedSae, AnotherFormatIsNamed) {
  edit([](Json& config) { config["format"] = "saelens"; });
  expect_error("got format 'saelens' version 1, expected 'sae' version 1");
}

TEST_F(DamagedSae, ANewerVersionIsRefused) {
  edit([](Json& config) { config["version"] = 2; });
  expect_error("version 2");
}

TEST_F(DamagedSae, AnUnknownOptionIsRefused) {
  edit([](Json& config) { config["model"]["kk"] = 2; });
  expect_error("model.kk: unknown key");
}

TEST_F(DamagedSae, ATensorOfAnotherShapeIsNamed) {
  edit([](Json& config) { config["model"]["d_sae"] = 21; });
  expect_error("is F32 [20");
}

TEST_F(DamagedSae, ATruncatedFileIsRefused) {
  fs::resize_file(path() / "sae.safetensors", 1000);
  expect_error("sae.safetensors");
}

TEST_F(DamagedSae, AMissingFileIsNamed) {
  fs::remove(path() / "sae.safetensors");
  expect_error("sae.safetensors: cannot read: No such file");
  fs::remove(path() / "config.json");
  expect_error("no config.json");
}

}  // namespace
}  // namespace sae
