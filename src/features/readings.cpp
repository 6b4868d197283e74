#include <nlohmann/json.hpp>

#include "numbers.h"
#include "sae/error.h"
#include "sae/features.h"
#include "sae/files.h"
#include "strict_json.h"

namespace sae {
namespace {

using nlohmann::json;

/// A suite's result; of several repeats the first.
const json* suite(const json& results, const char* name) {
  if (!results.is_object() || !results.contains(name)) return nullptr;
  const json& found = results[name];
  if (!found.is_object() || !found.contains("repeats")) return &found;
  const json& repeats = found["repeats"];
  return repeats.is_array() && !repeats.empty() ? &repeats[0] : nullptr;
}

class Reader {
 public:
  Reader(std::string place, std::int64_t d_sae) : place_(std::move(place)), d_sae_(d_sae) {}

  void classes(const json& absorption) {
    for (const json& one : absorption.at("classes")) {
      const json& main = one.at("main_latents");
      for (std::size_t i = 0; i < main.size(); ++i) {
        std::string text = one.at("class").get<std::string>() + ": main latent";
        if (main.size() > 1) text += " together with " + others(main, i);
        const json& f1 = one.at("k1_f1");
        if (i == 0 && f1.is_number()) text += ", F1 alone " + fixed(f1.get<double>(), 2);
        add(main[i], text);
      }
    }
  }

  void tasks(const json& probing) {
    for (const json& one : probing.at("tasks")) {
      if (!one.at("latents").contains("1")) continue;
      std::string text = one.at("dataset_name").get<std::string>() + ", " +
                         one.at("class").get<std::string>() + ": best single latent";
      const json accuracy = one.at("accuracy").value("sae_top_1_test_accuracy", json());
      if (accuracy.is_number()) text += ", accuracy " + fixed(accuracy.get<double>(), 2);
      add(one["latents"]["1"].at(0), text);
    }
  }

  const LatentReadings& readings() const { return readings_; }

 private:
  static std::string others(const json& main, std::size_t own) {
    std::string text;
    for (std::size_t i = 0; i < main.size(); ++i) {
      if (i != own) text += (text.empty() ? "" : ", ") + main[i].dump();
    }
    return text;
  }

  void add(const json& latent, const std::string& text) {
    const auto number = latent.get<std::int64_t>();
    if (number < 0 || number >= d_sae_) {
      throw DataError(place_ + ": latent " + latent.dump() + ", the autoencoder has " +
                      std::to_string(d_sae_) + "; are these another one's results?");
    }
    readings_[number].push_back(text);
  }

  std::string place_;
  std::int64_t d_sae_;
  LatentReadings readings_;
};

}  // namespace

LatentReadings read_latent_readings(const std::filesystem::path& file, std::int64_t d_sae) {
  const std::string place = file.string();
  const json results = parse_strict_json(read_file(file), place);
  const json* const absorption = suite(results, "absorption");
  const json* const probing = suite(results, "probing");
  if (absorption == nullptr && probing == nullptr) {
    throw DataError(place + ": neither absorption nor probing, expected what " +
                    "sae eval SAE --suite absorption,probing --json prints");
  }
  Reader reader(place, d_sae);
  try {
    if (absorption != nullptr) reader.classes(*absorption);
    if (probing != nullptr) reader.tasks(*probing);
  } catch (const json::exception& error) {
    throw DataError(place + ": not as sae eval --json prints it: " + error.what());
  }
  return reader.readings();
}

}  // namespace sae
