// What probing found: means, and JSON in the layout of sae-bench's result files.
#include <nlohmann/json.hpp>

#include "config/fields_json.h"
#include "sae/evaluation/probing.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

MetricValues average(const std::vector<MetricValues>& all) {
  MetricValues sums;
  for (const MetricValues& values : all) {
    for (const auto& [name, value] : values) sums[name] += value / static_cast<double>(all.size());
  }
  return sums;
}

Json by_kind(const MetricValues& values) {
  Json out = {{"llm", Json::object()}, {"sae", Json::object()}};
  for (const auto& [name, value] : values) {
    if (name.starts_with("llm_")) out["llm"][name] = to_json(value);
    if (name.starts_with("sae_")) out["sae"][name] = to_json(value);
  }
  return out;
}

/// Texts of all files.
SampleCount texts_of(const ProbingResult& result, SampleCount ProbingDataset::*split) {
  SampleCount sum;
  for (const ProbingDataset& dataset : result.datasets) {
    sum.samples += (dataset.*split).samples;
    sum.distinct += (dataset.*split).distinct;
  }
  return sum;
}

Json rests_on(const ProbingResult& result) {
  const SampleCount train = texts_of(result, &ProbingDataset::train_texts);
  const SampleCount test = texts_of(result, &ProbingDataset::test_texts);
  return {{"files", result.datasets.size()},
          {"train_texts", train.samples},
          {"distinct_train_texts", train.distinct},
          {"test_texts", test.samples},
          {"distinct_test_texts", test.distinct}};
}

}  // namespace

MetricValues ProbingDataset::mean() const {
  std::vector<MetricValues> all;
  for (const ProbingTask& task : tasks) all.push_back(task.accuracy);
  return average(all);
}

MetricValues ProbingResult::values() const {
  std::vector<MetricValues> all;
  std::size_t tasks = 0;
  for (const ProbingDataset& dataset : datasets) {
    all.push_back(dataset.mean());
    tasks += dataset.tasks.size();
  }
  MetricValues values = average(all);
  values["tasks"] = static_cast<double>(tasks);
  return values;
}

std::string ProbingResult::unranked() const {
  for (const ProbingDataset& dataset : datasets) {
    if (!dataset.unranked.empty()) return dataset.name + ": " + dataset.unranked;
  }
  return "";
}

std::string ProbingResult::basis() const {
  std::size_t tasks = 0;
  for (const ProbingDataset& dataset : datasets) tasks += dataset.tasks.size();
  return std::to_string(tasks) + (tasks == 1 ? " task of " : " tasks of ") +
         std::to_string(datasets.size()) + (datasets.size() == 1 ? " file, " : " files, ") +
         counted(texts_of(*this, &ProbingDataset::train_texts), "training texts") + "; " +
         counted(texts_of(*this, &ProbingDataset::test_texts), "test texts");
}

Json ProbingResult::json() const {
  Json details = Json::array();
  Json tasks = Json::array();
  for (const ProbingDataset& dataset : datasets) {
    Json row = {{"dataset_name", dataset.name}};
    for (const auto& [name, value] : dataset.mean()) row[name] = to_json(value);
    details.push_back(row);
    for (const ProbingTask& task : dataset.tasks) {
      Json latents = Json::object();
      for (std::size_t i = 0; i < task.latents.size(); ++i) {
        latents[std::to_string(options.k_values[i])] = task.latents[i];
      }
      tasks.push_back({{"dataset_name", dataset.name},
                       {"class", task.name},
                       {"train_texts", task.train_texts},
                       {"test_texts", task.test_texts},
                       {"latents", latents},
                       {"accuracy", to_json(task.accuracy)}});
    }
  }
  Json out = {{"eval_type_id", "sparse_probing"},
              {"eval_config", write_fields(options)},
              {"eval_result_metrics", by_kind(values())},
              {"eval_result_details", details},
              {"tasks", tasks},
              {"rests_on", rests_on(*this)},
              {"ranked", unranked().empty()}};
  if (!unranked().empty()) out["not_ranked"] = unranked();
  return out;
}

}  // namespace sae
