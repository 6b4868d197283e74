#include "comparison/consistency.h"

#include <torch/types.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <utility>

#include "sae/base/device.h"
#include "sae/base/files.h"
#include "sae/base/interrupt.h"
#include "sae/base/sha256.h"
#include "sae/evaluation/consistency.h"
#include "sae/metrics/metric_values.h"
#include "sae/models/sae_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kConsistencyVersion = 1;

/// What was measured before, by the weights that it was measured of.
class Kept {
 public:
  explicit Kept(fs::path file) : file_(std::move(file)) {
    if (!fs::exists(file_)) return;
    const Json json = Json::parse(read_file(file_), nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.value("version", Json()) == kConsistencyVersion) {
      pairs_ = json.value("pairs", Json());
    }
  }

  std::optional<MetricValues> find(const std::string& key) const try {
    if (!pairs_.is_object() || !pairs_.contains(key)) return std::nullopt;
    return metric_values_from_json(pairs_.at(key));
  } catch (const Json::exception&) {
    return std::nullopt;  // damaged: it is measured again
  }

  void keep(const std::string& key, const MetricValues& values) { now_[key] = to_json(values); }

  /// Writes those of this comparison and forgets others.
  void save() const {
    if (now_.empty()) return;
    const Json json = {
        {"format", "sae-consistency"}, {"version", kConsistencyVersion}, {"pairs", now_}};
    write_file_atomically(file_, json.dump(1) + "\n");
  }

 private:
  fs::path file_;
  Json pairs_;
  Json now_ = Json::object();
};

FiringRows firing_rows(const Entrant& one, const Data& data) {
  const at::NoGradGuard no_grad;
  const SaeFolder loaded = load_sae(one.folder / "sae");
  const Autoencoder& sae = *loaded.sae;
  loaded.sae->to(parse_device(one.plan->options.basics.device));
  const EvalOptions& eval = one.plan->options.eval;
  const std::int64_t tokens = data.held_out_at_most(eval.tokens);
  const auto source = data.held_out();
  at::Tensor fired = at::zeros({sae.d_sae()}, sae.W_enc.options());
  for (std::int64_t done = 0; done < tokens; done += eval.batch) {
    check_interrupt();
    const at::Tensor x = source->next(std::min(eval.batch, tokens - done));
    const Codes codes = sae.encode(x.to(sae.W_enc.device()));
    fired += codes.sum_per_latent((codes.values() > 0).to(fired.dtype()));
  }
  const at::Tensor which = at::nonzero(fired).squeeze(1);
  return {sae.W_dec.index_select(0, which), sae.W_enc.index_select(0, which)};
}

/// Runs that differ in the seed alone, by seed.
std::vector<std::vector<std::size_t>> groups_of(const std::vector<Entrant>& entrants) {
  std::map<std::pair<std::string, std::string>, std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < entrants.size(); ++i) {
    const PlannedRun& run = *entrants[i].plan;
    if (!entrants[i].ours || !entrants[i].failure.empty()) continue;
    std::string point;
    for (const auto& [path, value] : run.point) point += path + "=" + value.text() + " ";
    groups[{run.member, point}].push_back(i);
  }
  std::vector<std::vector<std::size_t>> out;
  for (auto& [key, runs] : groups) {
    if (runs.size() < 2) continue;
    std::sort(runs.begin(), runs.end(), [&](std::size_t a, std::size_t b) {
      return entrants[a].plan->options.basics.seed < entrants[b].plan->options.basics.seed;
    });
    out.push_back(std::move(runs));
  }
  return out;
}

class Measuring {
 public:
  Measuring(const std::vector<Entrant>& entrants, ComparisonData& data, const fs::path& folder)
      : entrants_(entrants), data_(data), kept_(folder / "consistency.json") {}

  void group(const std::vector<std::size_t>& runs, ComparisonResult& result) {
    rows_.clear();
    std::map<std::size_t, std::vector<MetricValues>> of_run;
    // In a ring, where two make one pair: as many pairs as runs, each run in two.
    const std::size_t pairs = runs.size() == 2 ? 1 : runs.size();
    for (std::size_t i = 0; i < pairs; ++i) {
      const std::size_t a = runs[i], b = runs[(i + 1) % runs.size()];
      const MetricValues values = pair(a, b);
      of_run[a].push_back(values);
      of_run[b].push_back(values);
    }
    for (const auto& [run, values] : of_run) {
      for (const auto& [name, value] : values.front()) {
        double sum = 0;
        for (const MetricValues& one : values) sum += one.at(name);
        result.runs[run].metrics[name] = sum / static_cast<double>(values.size());
      }
    }
  }

  void save() const { kept_.save(); }

 private:
  std::string weights_of(std::size_t run) const {
    return sha256_of_file(entrants_[run].folder / "sae" / "sae.safetensors");
  }

  const FiringRows& rows_of(std::size_t run) {
    const auto found = rows_.find(run);
    if (found != rows_.end()) return found->second;
    const Entrant& one = entrants_[run];
    return rows_.emplace(run, firing_rows(one, data_.of(*one.plan))).first->second;
  }

  MetricValues pair(std::size_t a, std::size_t b) {
    const Entrant& one = entrants_[a];
    const Data& data = data_.of(*one.plan);
    std::string key = weights_of(a) + " " + weights_of(b) + " " +
                      std::to_string(data.held_out_at_most(one.plan->options.eval.tokens));
    if (data.fingerprint) key += " " + data.fingerprint->held_out.digest;
    auto values = kept_.find(key);
    if (!values) values = measured(rows_of(a), rows_of(b));
    kept_.keep(key, *values);
    return *values;
  }

  MetricValues measured(const FiringRows& a, const FiringRows& b) {
    const std::tuple shape(a.decoder.size(0), b.decoder.size(0), a.decoder.size(1));
    const SeedConsistency own = consistency_of(a, b);
    auto chance = chance_.find(shape);
    if (chance == chance_.end()) {
      const auto [rows_a, rows_b, width] = shape;
      chance = chance_.emplace(shape, consistency_by_chance(rows_a, rows_b, width)).first;
    }
    return {{metric::kPwMcc, own.pw_mcc},
            {metric::kSharedLatents, own.shared},
            {metric::kPwMccChance, chance->second.pw_mcc},
            {metric::kSharedChance, chance->second.shared}};
  }

  const std::vector<Entrant>& entrants_;
  ComparisonData& data_;
  Kept kept_;
  std::map<std::size_t, FiringRows> rows_;  // of the group's runs
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, SeedConsistency> chance_;
};

}  // namespace

void measure_consistency(const std::vector<Entrant>& entrants, ComparisonData& data,
                         const fs::path& folder, ComparisonResult& result) {
  Measuring measuring(entrants, data, folder);
  for (const auto& runs : groups_of(entrants)) measuring.group(runs, result);
  measuring.save();
}

}  // namespace sae
