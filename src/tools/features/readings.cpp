#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/strict_json.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/text.h"
#include "sae/tools/features.h"

namespace sae {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();

/// A suite's result; of several repeats the first.
const json* suite(const json& results, const char* name) {
  if (!results.is_object() || !results.contains(name)) return nullptr;
  const json& found = results[name];
  if (!found.is_object() || !found.contains("repeats")) return &found;
  const json& repeats = found["repeats"];
  return repeats.is_array() && !repeats.empty() ? &repeats[0] : nullptr;
}

/// For loops, as a number would be a list of itself.
const json& list_at(const json& object, const char* key) {
  const json& found = object.at(key);
  if (found.is_array()) return found;
  throw json::other_error::create(500, std::string(key) + " is no list", &object);
}

std::int64_t whole(const json& value, const std::string& place) {
  if (value.is_number_integer() && !(value.is_number_unsigned() && value > kMost)) {
    return value.get<std::int64_t>();
  }
  throw DataError(place + ": got " + value.dump() + ", expected a whole number");
}

/// What is told of a latent that interp judged.
struct JudgedNumber {
  const char* key;
  const char* label;
  int decimals;
};
constexpr JudgedNumber kJudgedNumbers[] = {{"intruder", "intruder accuracy", 2},
                                           {"intruder_matched", "with the same token", 2},
                                           {"coherence", "coherence", 2},
                                           {"auroc", "detection AUROC", 2},
                                           {"r_precision", "R-precision", 2},
                                           {"token_r2", "R² of tokens alone", 2},
                                           {"effective_tokens", "effective tokens", 0}};

class Reader {
 public:
  Reader(std::string place, std::int64_t d_sae) : place_(std::move(place)), d_sae_(d_sae) {}

  void check_latents(const json& suite) const {
    if (!suite.contains("d_sae") || whole(suite["d_sae"], place_ + ": d_sae") == d_sae_) return;
    throw DataError(place_ + ": results of an autoencoder with " + suite["d_sae"].dump() +
                    " latents, this one has " + std::to_string(d_sae_) + another());
  }

  void classes(const json& absorption) {
    for (const json& one : list_at(absorption, "classes")) {
      const auto name = one.at("class").get<std::string>();
      std::vector<std::int64_t> main;
      for (const json& latent_of : list_at(one, "main_latents")) main.push_back(latent(latent_of));
      main_latents(name, main, one.at("k1_f1"));
      if (!one.contains("absorbers")) continue;
      for (const json& absorber : list_at(one, "absorbers")) {
        absorbed(name, main, absorber, whole(one.at("words"), place_ + ": words"));
      }
    }
  }

  void tasks(const json& probing) {
    for (const json& one : list_at(probing, "tasks")) {
      if (!one.at("latents").contains("1")) continue;
      std::string text = one.at("dataset_name").get<std::string>() + ", " +
                         one.at("class").get<std::string>() + ": best single latent";
      const json accuracy = one.at("accuracy").value("sae_top_1_test_accuracy", json());
      if (accuracy.is_number()) text += ", accuracy " + fixed(accuracy.get<double>(), 2);
      readings_[latent(one["latents"]["1"].at(0))].push_back({text});
    }
  }

  void judged(const json& interp) {
    const json& columns = interp.at("of_latents");
    const auto name = interp.at("judge").at("name").get<std::string>();
    const json& latents = list_at(columns, "latent");
    for (std::size_t i = 0; i < latents.size(); ++i) {
      std::string text = "judged by " + name;
      std::string separator = ": ";
      for (const auto& [key, label, decimals] : kJudgedNumbers) {
        const json& values = list_at(columns, key);
        const json& value = values.at(i);
        if (!value.is_number()) continue;
        text += std::exchange(separator, ", ") + label + " " + fixed(value.get<double>(), decimals);
      }
      readings_[latent(latents[i])].push_back({text});
    }
  }

  const LatentReadings& readings() const { return readings_; }

 private:
  static std::string another() { return "; are these another one's results?"; }

  std::int64_t latent(const json& value) const {
    const std::int64_t number = whole(value, place_ + ": latent");
    if (number >= 0 && number < d_sae_) return number;
    throw DataError(place_ + ": latent " + value.dump() + ", the autoencoder has " +
                    std::to_string(d_sae_) + another());
  }

  /// `latents` but for one, after `before`.
  static void list(LatentReading& reading, const std::string& before,
                   const std::vector<std::int64_t>& latents, std::int64_t without) {
    std::string separator = before;
    for (const std::int64_t latent : latents) {
      if (latent == without) continue;
      reading.emplace_back(std::exchange(separator, ", "));
      reading.emplace_back(latent);
    }
  }

  void main_latents(const std::string& name, const std::vector<std::int64_t>& main,
                    const json& f1) {
    for (std::size_t i = 0; i < main.size(); ++i) {
      LatentReading reading = {name + ": main latent"};
      if (main.size() > 1) list(reading, " together with ", main, main[i]);
      if (i == 0 && f1.is_number())
        reading.emplace_back(", F1 alone " + fixed(f1.get<double>(), 2));
      readings_[main[i]].push_back(std::move(reading));
    }
  }

  void absorbed(const std::string& name, const std::vector<std::int64_t>& main,
                const json& absorber, std::int64_t words) {
    const std::int64_t number = latent(absorber.at("latent"));
    std::string where = " in " + std::to_string(whole(absorber.at("words"), place_ + ": words")) +
                        " of " + std::to_string(words) + " words";
    const json& share = absorber.at("share");
    if (share.is_number()) where += ", carrying " + fixed(100 * share.get<double>(), 0) + " %";
    std::string separator = ": ";
    for (const json& word : list_at(absorber, "examples")) {
      where += std::exchange(separator, ", ") + word.get<std::string>();
    }
    LatentReading own = {name + ": absorbs it"};
    list(own, " from ", main, -1);
    own.emplace_back(where);
    readings_[number].push_back(std::move(own));
    for (const std::int64_t one : main) {
      readings_[one].push_back({name + ": absorbed by ", number, where});
    }
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
  const json* const interp = suite(results, "interp");
  if (absorption == nullptr && probing == nullptr && interp == nullptr) {
    throw DataError(place + ": neither absorption nor probing nor interp, expected what " +
                    "sae eval SAE --suite absorption,probing,interp --json prints");
  }
  Reader reader(place, d_sae);
  try {
    for (const json* one : {absorption, probing, interp}) {
      if (one != nullptr) reader.check_latents(*one);
    }
    if (absorption != nullptr) reader.classes(*absorption);
    if (probing != nullptr) reader.tasks(*probing);
    if (interp != nullptr && interp->contains("of_latents")) reader.judged(*interp);
  } catch (const json::exception& error) {
    throw DataError(place + ": not as sae eval --json prints it: " + error.what());
  }
  return reader.readings();
}

}  // namespace sae
