// What the tests of runs share: small configurations, and run folders compared byte by byte.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "sae/base/files.h"
#include "sae/metrics/metrics_log.h"
#include "sae/training/checkpoint.h"
#include "sae/training/run.h"

namespace sae {

using Json = nlohmann::ordered_json;

inline Json parsed(const std::filesystem::path& path) { return Json::parse(read_file(path)); }

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// A run that takes a fraction of a second on one thread; it logs, evaluates and saves often.
/// Where tests of runs train: on the fake GPU if ctest has preloaded it, by LibTorch's operators,
/// for kernels of ours are slow there and have tests of their own.
inline std::string test_device() { return std::getenv("SAE_FAKE_GPU") ? "cuda" : "cpu"; }
inline std::string test_kernels() { return test_device() == "cuda" ? "off" : "auto"; }

inline Json tiny_config(const Json& model, std::int64_t steps = 60) {
  return {{"device", test_device()},
          {"kernels", test_kernels()},
          {"threads", 1},
          {"model", model},
          {"data", {{"kind", "synthetic"}, {"preset", "tiny"}}},
          {"train",
           {{"steps", steps},
            {"batch", 32},
            {"lr", 5e-3},
            {"lr_warmup_steps", std::min<std::int64_t>(5, steps / 2)},
            {"calibration_tokens", 256},
            {"log_every", 7},
            {"checkpoint_every", 20},
            {"checkpoint_minutes", 0}}},
          {"eval", {{"tokens", 512}, {"batch", 200}, {"every", 25}, {"every_tokens", 100}}}};
}

inline RunOptions tiny_run(const Json& config) {
  return read_run(config_from_json(config, "test"));
}

/// One model of each kind, with everything in it that has a state of its own.
inline std::vector<std::pair<std::string, Json>> stateful_models() {
  const Json mask = {{"warmup_steps", 10}, {"cycle", 15}, {"active_fraction", 0.5}};
  const Json nested = {
      {"draw", "nested"}, {"paths", "both"}, {"importance", "frequency"}, {"warmup_steps", 5}};
  const auto model = [](Json more) {
    Json all = {{"d_sae", 20}, {"dead_after_tokens", 300}};
    all.update(more);
    return all;
  };
  return {
      {"standard", model({{"architecture", "standard"}, {"sparsity", 0.1}})},
      {"topk", model({{"architecture", "topk"}, {"k", 2}})},
      {"batch_topk", model({{"architecture", "batch_topk"}, {"k", 1.5}})},
      {"matryoshka", model({{"architecture", "matryoshka"}, {"k", 1.5}, {"widths", {4, 10, 20}}})},
      {"jumprelu", model({{"architecture", "jumprelu"}, {"target_l0", 1.5}})},
      {"atm", model({{"architecture", "atm"}, {"sparsity", 0.05}, {"mask", mask}})},
      {"nested ATM", model({{"architecture", "batch_topk"}, {"k", 1.5}, {"mask", nested}})},
      {"resampled", model({{"architecture", "standard"}, {"sparsity", 1}, {"resample_every", 15}})},
      {"steered",
       model({{"architecture", "standard"}, {"target_l0", 1.2}, {"decoder_norm", "free"}})},
  };
}

/// Lines of metrics.jsonl without the only number that a clock decides.
inline std::vector<std::string> logged(const std::filesystem::path& run) {
  std::vector<std::string> lines;
  for (MetricsRow row : read_metrics(run / "metrics.jsonl")) {
    row.values.erase("tokens_per_s");
    lines.push_back(to_json_line(row));
  }
  return lines;
}

inline void expect_same_file(const std::filesystem::path& a, const std::filesystem::path& b) {
  EXPECT_TRUE(read_file(a) == read_file(b)) << a << " differs from " << b;
}

/// A checkpoint's state without what its data were called: the same data may lie elsewhere.
inline Json state_of_checkpoint(const std::filesystem::path& checkpoint) {
  Json state = parsed(checkpoint / "state.json");
  if (!state.contains("data")) return state;
  for (const char* part : {"train", "held_out"}) state["data"][part].erase("name");
  return state;
}

/// Two finished runs have the same parameters, moments, statistics, metrics and result.
inline void expect_same_run(const std::filesystem::path& a, const std::filesystem::path& b) {
  EXPECT_EQ(logged(a), logged(b));
  expect_same_file(a / "sae" / "sae.safetensors", b / "sae" / "sae.safetensors");
  EXPECT_EQ(parsed(a / "summary.json")["metrics"], parsed(b / "summary.json")["metrics"]);
  const auto last_a = newest_checkpoint(a / "checkpoints");
  const auto last_b = newest_checkpoint(b / "checkpoints");
  ASSERT_TRUE(last_a && last_b);
  EXPECT_EQ(last_a->filename(), last_b->filename());
  for (const char* name : {"sae.safetensors", "optimizer.safetensors"}) {
    expect_same_file(*last_a / name, *last_b / name);
  }
  EXPECT_EQ(state_of_checkpoint(*last_a), state_of_checkpoint(*last_b));
}

}  // namespace sae
