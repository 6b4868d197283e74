#include "evaluation/interp/result.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "sae/base/text.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

std::string metric_name(std::size_t m) { return name_of(static_cast<InterpMetric>(m)); }

void add_means(const InterpSummary& summary, const std::string& prefix, std::size_t metrics,
               MetricValues& values) {
  for (std::size_t m = 0; m < metrics; ++m) {
    values[prefix + metric_name(m)] = summary.mean[m];
    values[prefix + metric_name(m) + "_error"] = summary.error[m];
  }
}

void add_bins(const InterpSummary& summary, const std::string& prefix,
              std::map<std::string, MetricValues>& out) {
  for (const InterpBin& bin : summary.bins) {
    const std::string key = std::to_string(bin.bin);
    for (std::size_t m = 0; m < kInterpMetrics; ++m) {
      out[prefix + metric_name(m) + "_of_bin"][key] = bin.mean[m];
      out[prefix + metric_name(m) + "_error_of_bin"][key] = bin.error[m];
    }
  }
}

Json means_json(const InterpSummary& summary, std::size_t metrics) {
  Json json = Json::object();
  for (std::size_t m = 0; m < metrics; ++m) {
    json[metric_name(m)] = to_json(summary.mean[m]);
    json[metric_name(m) + "_error"] = to_json(summary.error[m]);
  }
  return json;
}

Json quantiles_json(const InterpSummary& summary) {
  Json json = Json::array();
  for (const auto& group : summary.by_quantile) {
    Json one = {{"quantile", json.size() + 1}};
    for (std::size_t m = 0; m < kByQuantile; ++m) one[metric_name(m)] = to_json(group[m]);
    json.push_back(one);
  }
  return json;
}

Json bins_json(const InterpSummary& summary) {
  Json json = Json::array();
  for (const InterpBin& bin : summary.bins) {
    Json one = {{"firings_from", std::int64_t{1} << bin.bin}, {"latents", bin.latents}};
    for (std::size_t m = 0; m < kInterpMetrics; ++m) one[metric_name(m)] = to_json(bin.mean[m]);
    json.push_back(one);
  }
  return json;
}

/// A list a number, which takes half as much as an object a latent.
Json latents_json(const std::vector<LatentScores>& latents) {
  Json json = {{"latent", Json::array()}, {"firings", Json::array()}};
  for (std::size_t m = 0; m < kInterpMetrics; ++m) json[metric_name(m)] = Json::array();
  for (const LatentScores& one : latents) {
    json["latent"].push_back(one.latent);
    json["firings"].push_back(one.rows);
    for (std::size_t m = 0; m < kInterpMetrics; ++m) {
      json[metric_name(m)].push_back(to_json(one.values[m]));
    }
  }
  return json;
}

Json judge_json(const JudgeFacts& judge) {
  if (judge.file.empty()) return {{"name", judge.name}};
  return {
      {"name", judge.name}, {"revision", judge.revision},          {"window", judge.window},
      {"file", judge.file}, {"is_model_of_store", judge.of_store}, {"hides_tokens", judge.blind}};
}

}  // namespace

MetricValues InterpResult::values() const {
  MetricValues values;
  add_means(own, "", kInterpMetrics, values);
  for (std::size_t m = 0; m < kInterpMetrics; ++m) {
    values["shuffled_" + metric_name(m)] = shuffled.mean[m];
    if (m < kJudged && !judge.file.empty())
      values["token_judge_" + metric_name(m)] = by_tokens.mean[m];
  }
  values["intruder_share_80"] = own.intruder_share_80;
  values["coverage"] = selection.coverage;
  for (std::size_t i = 0; i < selection.counts.size(); ++i) {
    values[name_of(static_cast<LatentStanding>(i))] = static_cast<double>(selection.counts[i]);
  }
  return values;
}

std::map<std::string, MetricValues> InterpResult::by_bin() const {
  std::map<std::string, MetricValues> out;
  for (const InterpBin& bin : own.bins) {
    out["latents_of_bin"][std::to_string(bin.bin)] = static_cast<double>(bin.latents);
  }
  add_bins(own, "", out);
  add_bins(shuffled, "shuffled_", out);
  if (!judge.file.empty()) add_bins(by_tokens, "token_judge_", out);
  for (std::size_t g = 0; g < own.by_quantile.size(); ++g) {
    for (std::size_t m = 0; m < kByQuantile; ++m) {
      out[metric_name(m) + "_of_quantile"][std::to_string(g + 1)] = own.by_quantile[g][m];
    }
  }
  return out;
}

std::string InterpResult::basis() const {
  const auto count = [&](LatentStanding standing) {
    return std::to_string(selection.counts[static_cast<std::size_t>(standing)]) + " " +
           name_of(standing);
  };
  return std::to_string(rows) + " rows of " + std::to_string(contexts) + " contexts of " + store +
         ", judged by " + judge.name + "; " + count(LatentStanding::kEligible) + " of " +
         std::to_string(d_sae) + " latents (" + count(LatentStanding::kSilent) + ", " +
         count(LatentStanding::kRare) + ", " + count(LatentStanding::kDense) + "), which make " +
         fixed(100 * selection.coverage, 0) + " % of all firings";
}

std::string InterpResult::unranked() const {
  if (!selection.eligible.empty()) return "";
  return "no latent fires often enough, in enough contexts and not too often: there is nothing to "
         "judge; a larger sample has more";
}

std::string InterpResult::remark() const {
  if (selection.eligible.empty()) return "not ranked: " + unranked();
  if (judge.file.empty()) {
    return "the judge `token` sees nothing but whether two tokens are the same; make a judge file "
           "of the store with scripts/judge.py";
  }
  if (judge.of_store) {
    return "the judge is the model that the store is from, which finds its own directions alike; "
           "take another one";
  }
  return "";
}

Json InterpResult::json() const {
  Json json = {{"judge", judge_json(judge)}, {"d_sae", d_sae}};
  for (std::size_t i = 0; i < selection.counts.size(); ++i) {
    json["latents"][name_of(static_cast<LatentStanding>(i))] = selection.counts[i];
  }
  json["coverage"] = to_json(selection.coverage);
  json.update(means_json(own, kInterpMetrics));
  json["intruder_share_80"] = to_json(own.intruder_share_80);
  json["by_quantile"] = quantiles_json(own);
  json["by_firings"] = bins_json(own);
  json["shuffled"] = means_json(shuffled, kInterpMetrics);
  if (!judge.file.empty()) json["token_judge"] = means_json(by_tokens, kJudged);
  json["ranked"] = !selection.eligible.empty();
  if (selection.eligible.empty()) json["not_ranked"] = unranked();
  json["rests_on"] = {
      {"store", store}, {"rows", rows}, {"contexts", contexts}, {"token_rows", token_rows}};
  if (list_latents) json["of_latents"] = latents_json(latents);
  return json;
}

}  // namespace sae
