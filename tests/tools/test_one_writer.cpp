// Whatever the command makes a folder with: while one process makes it, a second is refused.
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "sae/base/error.h"
#include "sae/base/folder_lock.h"
#include "sae/models/architectures.h"
#include "sae/models/sae_folder.h"
#include "sae/tools/blind.h"
#include "sae/tools/convert.h"
#include "sae/tools/features.h"
#include "sae/tools/synth.h"
#include "support/blind_testing.h"
#include "support/other_process.h"
#include "support/store_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

TEST(OneWriter, ASecondProcessIsRefusedByEveryCommandThatMakesAFolder) {
  const TemporaryFolder folder;
  const auto path = [&](const std::string& name) { return folder.path() / name; };
  write_normal_store(path("acts"), 30, 1, 10);
  const nlohmann::ordered_json model = {
      {"architecture", "topk"}, {"d_in", 12}, {"d_sae", 16}, {"k", 2}};
  const auto sae = make_autoencoder(config_from_json(model, "test"));
  sae->initialise(0);
  save_sae(path("sae"), *sae, model, 1, nlohmann::ordered_json::object());

  ConvertArguments converted;
  converted.input = path("sae");
  converted.to = "saelens";
  FeaturesArguments pages;
  pages.sae = path("sae").string();
  pages.data = path("acts").string();
  save_blind_member(path("member"), 1);
  save_blind_store(path("text"));
  BlindArguments study;
  study.members = {path("member").string()};
  study.control = Control::kRandom;
  study.data = path("text").string();
  const std::vector<std::pair<std::string, std::function<void(const std::filesystem::path&)>>>
      commands = {{"synth", [&](const auto& out) { write_world(read_synth("tiny", 50, {}), out); }},
                  {"convert",
                   [&](const auto& out) {
                     converted.output = out;
                     convert(converted);
                   }},
                  {"features",
                   [&](const auto& out) {
                     pages.out = out.string();
                     write_features(pages);
                   }},
                  {"blind", [&](const auto& out) {
                     study.out = out.string();
                     write_blind(study);
                   }}};
  for (const auto& [name, make] : commands) {
    SCOPED_TRACE(name);
    const std::filesystem::path out = path("out of " + name);
    {
      std::optional<FolderLock> theirs;
      const OtherProcess first([&] { theirs.emplace(FolderLock::beside(out)); });
      try {
        make(out);
        FAIL() << "not refused";
      } catch (const ConfigError& error) {
        EXPECT_EQ(std::string(error.what()).find(out.string() + ": another process is writing it"),
                  0U)
            << error.what();
      }
      EXPECT_FALSE(std::filesystem::exists(out));
    }
    make(out);
    EXPECT_TRUE(std::filesystem::exists(out));
    EXPECT_FALSE(std::filesystem::exists(path(".out of " + name + ".lock")));
  }
}

}  // namespace
}  // namespace sae
