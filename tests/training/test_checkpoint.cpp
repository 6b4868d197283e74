#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <system_error>

#include "sae/base/error.h"
#include "sae/base/sha256.h"
#include "sae/training/checkpoint.h"
#include "support/run_testing.h"
#include "support/sae_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

const Json kModel = {{"architecture", "atm"}, {"d_in", 5}, {"d_sae", 8}, {"mask", Json::object()}};

Trainer make_trainer(const Json& model = kModel, InputCentre centre = InputCentre::kNone) {
  auto sae = make_autoencoder(config_from_json(model, "test"));
  sae->initialise(1);
  TrainOptions options;
  options.steps = 100;
  options.batch = 16;
  options.input_centre = centre;
  return {std::move(sae), options};
}

void advance(Trainer& trainer, std::int64_t steps) {
  for (std::int64_t i = 0; i < steps; ++i) {
    const auto index = static_cast<std::uint64_t>(trainer.steps_done());
    trainer.step(normal({16, 5}, index).to(at::kFloat));
  }
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

class Checkpoint : public ::testing::Test {
 protected:
  const fs::path& path() const { return folder_.path(); }

 private:
  TemporaryFolder folder_;
};

TEST_F(Checkpoint, BringsBackEverythingALaterStepDependsOn) {
  for (const InputCentre centre : {InputCentre::kNone, InputCentre::kMean}) {
    const fs::path folder = path() / name_of(centre);
    Trainer one = make_trainer(kModel, centre);
    advance(one, 5);
    save_checkpoint(folder, one, 2);
    Trainer other = make_trainer(kModel, centre);
    load_checkpoint(*newest_checkpoint(folder), other);
    EXPECT_EQ(other.steps_done(), 5);
    EXPECT_EQ(other.input_scale(), one.input_scale());
    EXPECT_EQ(other.input().mean.defined(), centre == InputCentre::kMean);
    advance(one, 5);
    advance(other, 5);
    expect_same(snapshot(*one.autoencoder()), snapshot(*other.autoencoder()));
    const auto a = one.state();
    const auto b = other.state();
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      EXPECT_TRUE(at::equal(a[i].second, b[i].second)) << a[i].first;
    }
  }
}

TEST_F(Checkpoint, OfCentredInputsIsRefusedByATrainerThatDoesNotCentre) {
  Trainer centred = make_trainer(kModel, InputCentre::kMean);
  advance(centred, 2);
  save_checkpoint(path(), centred, 2);
  Trainer plain = make_trainer();
  EXPECT_THROW(load_checkpoint(*newest_checkpoint(path()), plain), DataError);
  EXPECT_FALSE(plain.calibrated()) << "changed before it was checked";
}

TEST_F(Checkpoint, HoldsTheFilesThatTheFormatNames) {
  Trainer trainer = make_trainer();
  advance(trainer, 3);
  save_checkpoint(path(), trainer, 1);
  const fs::path folder = path() / "step-00000003";
  EXPECT_EQ(names_in(folder), (std::vector<std::string>{"MANIFEST.json", "optimizer.safetensors",
                                                        "sae.safetensors", "state.json"}));
  const Json manifest = parsed(folder / "MANIFEST.json");
  EXPECT_EQ(manifest["files"].size(), 3U);
  for (const auto& [name, entry] : manifest["files"].items()) {
    EXPECT_EQ(entry["size"], fs::file_size(folder / name));
    EXPECT_EQ(entry["sha256"], sha256_of_file(folder / name));
  }
  EXPECT_EQ(checkpoint_step(folder), 3);
}

TEST_F(Checkpoint, KeepsTheNewest) {
  Trainer trainer = make_trainer();
  for (int i = 0; i < 4; ++i) {
    advance(trainer, 1);
    save_checkpoint(path(), trainer, 2);
  }
  EXPECT_EQ(names_in(path()), (std::vector<std::string>{"step-00000003", "step-00000004"}));
}

TEST_F(Checkpoint, FallsBackToTheOneBeforeADamagedOne) {
  const std::vector<std::function<void(const fs::path&)>> damages = {
      [](const fs::path& at) { fs::resize_file(at / "sae.safetensors", 100); },
      [](const fs::path& at) {
        std::string bytes = read_file(at / "optimizer.safetensors");
        bytes.back() = static_cast<char>(bytes.back() ^ 1);
        write_text(at / "optimizer.safetensors", bytes);
      },
      [](const fs::path& at) { fs::remove(at / "MANIFEST.json"); },
      [](const fs::path& at) { write_text(at / "MANIFEST.json", "{\"files\": 3}"); },
      [](const fs::path& at) { fs::remove(at / "state.json"); },
  };
  for (std::size_t i = 0; i < damages.size(); ++i) {
    const fs::path folder = path() / std::to_string(i);
    Trainer trainer = make_trainer();
    for (int step = 0; step < 2; ++step) {
      advance(trainer, 1);
      save_checkpoint(folder, trainer, 2);
    }
    damages[i](folder / "step-00000002");
    EXPECT_FALSE(is_intact(folder / "step-00000002")) << i;
    EXPECT_EQ(newest_checkpoint(folder)->filename(), "step-00000001") << i;
    fs::remove_all(folder / "step-00000001");
    EXPECT_FALSE(newest_checkpoint(folder)) << i;
  }
}

TEST_F(Checkpoint, ADamagedNewerOneDoesNotPushOutTheOneJustWritten) {
  Trainer trainer = make_trainer();
  advance(trainer, 9);
  save_checkpoint(path(), trainer, 1);
  fs::remove(path() / "step-00000009" / "state.json");
  Trainer again = make_trainer();
  advance(again, 4);
  save_checkpoint(path(), again, 1);
  EXPECT_EQ(names_in(path()), (std::vector<std::string>{"step-00000004"}));
}

TEST_F(Checkpoint, WritesADamagedOneOfTheSameStepAnew) {
  Trainer trainer = make_trainer();
  advance(trainer, 2);
  save_checkpoint(path(), trainer, 2);
  fs::resize_file(path() / "step-00000002" / "sae.safetensors", 10);
  save_checkpoint(path(), trainer, 2);
  EXPECT_TRUE(is_intact(path() / "step-00000002"));
}

TEST_F(Checkpoint, OfAnotherModelIsRefused) {
  Trainer trainer = make_trainer();
  advance(trainer, 1);
  save_checkpoint(path(), trainer, 1);
  Json wider = kModel;
  wider["d_sae"] = 9;
  Trainer other = make_trainer(wider);
  EXPECT_THROW(load_checkpoint(path() / "step-00000001", other), DataError);
  Json plain = kModel;
  plain["architecture"] = "standard";
  plain["mask"] = nullptr;
  Trainer unmasked = make_trainer(plain);
  EXPECT_THROW(load_checkpoint(path() / "step-00000001", unmasked), DataError);
  write_text(path() / "step-00000001" / "state.json", "{\"format\": \"x\", \"version\": 1}");
  Trainer same = make_trainer();
  EXPECT_THROW(load_checkpoint(path() / "step-00000001", same), DataError);
}

TEST_F(Checkpoint, ThatDoesNotFitLeavesTheTrainerAsItWas) {
  Trainer narrow = make_trainer();
  advance(narrow, 1);
  save_checkpoint(path() / "narrow", narrow, 1);
  Json model = kModel;
  model["d_sae"] = 9;
  Trainer wide = make_trainer(model);
  advance(wide, 1);
  save_checkpoint(path() / "wide", wide, 1);
  fs::copy_file(path() / "narrow" / "step-00000001" / "optimizer.safetensors",
                path() / "wide" / "step-00000001" / "optimizer.safetensors",
                fs::copy_options::overwrite_existing);
  advance(wide, 1);
  const auto before = snapshot(*wide.autoencoder());
  EXPECT_THROW(load_checkpoint(path() / "wide" / "step-00000001", wide), DataError);
  expect_same(before, snapshot(*wide.autoencoder()));
  EXPECT_EQ(wide.steps_done(), 2);
}

TEST_F(Checkpoint, AFullDiskLeavesTheOldOne) {
  Trainer trainer = make_trainer();
  advance(trainer, 1);
  save_checkpoint(path(), trainer, 1);
  advance(trainer, 1);
  // A file size limit fails writes as a full disk does: after some bytes have been written.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight{700, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  std::string message;
  try {
    save_checkpoint(path(), trainer, 1);
  } catch (const std::system_error& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(message.find(".safetensors: cannot write: File too large"), std::string::npos)
      << message;
  EXPECT_EQ(names_in(path()), (std::vector<std::string>{"step-00000001"}));
  EXPECT_TRUE(is_intact(path() / "step-00000001"));
}

}  // namespace
}  // namespace sae
