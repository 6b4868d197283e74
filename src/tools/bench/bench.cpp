#include "sae/tools/bench.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/parallel.h"
#include "base/stages.h"
#include "data/device_batches.h"
#include "sae/base/device.h"
#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sae/base/text.h"
#include "sae/data/data.h"
#include "sae/data/store.h"
#include "sae/models/architectures.h"
#include "sae/training/run.h"
#include "sae/training/trainer.h"
#include "tools/bench/batches.h"
#include "tools/bench/peak_memory.h"
#include "training/autocast.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kWarmUp = 3;
constexpr std::int64_t kRounds = 3;       // of steps, on a GPU
constexpr std::int64_t kMostStaged = 10;  // steps whose stages are timed

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class Body>
double fastest_of(int times, const at::Device& device, const Body& body) {
  double best = INFINITY;
  for (int i = 0; i < times; ++i) {
    check_interrupt();
    wait_for(device);
    const double start = now();
    body();
    wait_for(device);
    best = std::min(best, now() - start);
  }
  return best;
}

/// The documentation of an option of the architecture, or null.
const FieldDoc* option_of(const BenchCase& one, const std::string& name) {
  const Json model{{"architecture", one.architecture}};
  const auto& options = find_architecture(config_from_json(model, "bench")).options;
  const auto found = std::find_if(options.begin(), options.end(),
                                  [&](const FieldDoc& option) { return option.name == name; });
  return found == options.end() ? nullptr : &*found;
}

bool has_k(const BenchCase& one) { return option_of(one, "k") != nullptr; }

Json model_of(const BenchCase& one) {
  Json model{{"architecture", one.architecture}, {"d_in", one.d_in}, {"d_sae", one.d_sae}};
  if (has_k(one)) model["k"] = std::max<std::int64_t>(1, std::llround(one.l0));
  const bool masked = !option_of(one, "mask")->default_value->is_null();
  if (masked) model["mask"] = Json{{"warmup_steps", 1}};
  if (!one.mask) return model;
  model["mask"] = Json{{"warmup_steps", 1}, {"draw", name_of(*one.mask)}};
  if (*one.mask == MaskDraw::kBernoulli) return model;
  model["mask"].update(Json{{"importance", "frequency"}, {"min_keep", 0}});
  if (*one.mask != MaskDraw::kExpected) model["mask"]["paths"] = "both";
  return model;
}

/// One threshold for all latents, so that K of F exceed it on average.
void keep_l0(Autoencoder& sae, const BenchCase& one, const at::Tensor& x) {
  if (has_k(one)) return;
  const at::NoGradGuard no_grad;
  const std::int64_t tokens = std::min<std::int64_t>(256, x.size(0));
  const at::Tensor h = preactivations(x.slice(0, 0, tokens), sae.encoder()).reshape({-1});
  const double kept = std::min(one.l0 / static_cast<double>(one.d_sae), 1.0);
  const auto place = std::max<std::int64_t>(1, std::llround((1 - kept) * h.numel()));
  const double limit = std::get<0>(h.kthvalue(std::min(place, h.numel()))).item<double>();
  for (auto& item : sae.named_parameters()) {
    const bool log = item.key() == "log_threshold";
    if (!log && item.key() != "threshold") continue;
    item.value().fill_(log ? std::log(std::max(limit, 1e-6)) : limit);
    return;
  }
  sae.b_enc.fill_(-limit);
}

/// Seconds to copy a byte of a tensor like `like`: half of them read, half written.
double seconds_per_byte(const at::Tensor& like) {
  const at::Tensor from = at::ones_like(like);
  at::Tensor to = at::empty_like(from);
  const double copied = fastest_of(3, like.device(), [&] { to.copy_(from); });
  return copied / (2.0 * static_cast<double>(from.nbytes()));
}

void measure_floor(const Autoencoder& sae, const at::Tensor& x, BenchResult& result) {
  const at::NoGradGuard no_grad;
  const at::Device device = x.device();
  const at::Tensor low_x = x.to(at::kBFloat16);
  const at::Tensor low_W = sae.W_enc.detach().to(at::kBFloat16).t();
  const at::Tensor W = sae.W_enc.detach().t();
  const auto low = [&] { at::mm(low_x, low_W); };
  const Tf32Scope tf32(result.precision == Precision::kTf32);
  result.gemm_s = result.precision == Precision::kBf16
                      ? fastest_of(5, device, low)
                      : fastest_of(5, device, [&] { at::mm(x, W); });
  const double product = result.screened ? fastest_of(5, device, low) : result.gemm_s;
  const double parameters = 2.0 * static_cast<double>(sae.d_sae() * sae.d_in());
  const double rows = result.l0 * static_cast<double>(x.size(0) * sae.d_in());
  result.floor_s = product + sizeof(float) * (7 * parameters + 4 * rows) * seconds_per_byte(W);
}

/// Times of single steps on a CPU; on a GPU of rounds of steps, a step each, since a wait after
/// every one would hide what overlaps.
std::vector<double> time_steps(Trainer& trainer, DeviceBatches& batches, std::int64_t steps,
                               const at::Device& device) {
  const std::int64_t rounds = device.is_cpu() ? steps : kRounds;
  const std::int64_t of_round = device.is_cpu() ? 1 : steps;
  std::vector<double> times;
  for (std::int64_t round = 0; round < rounds; ++round) {
    wait_for(device);
    const double start = now();
    for (std::int64_t i = 0; i < of_round; ++i) {
      check_interrupt();
      trainer.step(batches.next());
    }
    wait_for(device);
    times.push_back((now() - start) / static_cast<double>(of_round));
  }
  std::sort(times.begin(), times.end());
  return times;
}

void time_stages(Trainer& trainer, DeviceBatches& batches, std::int64_t steps,
                 const at::Device& device, BenchResult& result) {
  const auto settle = [&] { wait_for(device); };
  std::array<double, kStageNames.size()> stages{};
  double data = 0;
  double other = 0;
  for (std::int64_t i = 0; i < steps; ++i) {
    check_interrupt();
    const StageClock clock(device.is_cpu() ? std::function<void()>() : settle);
    settle();
    const double start = now();
    const at::Tensor x = batches.next();
    settle();
    data += now() - start;
    trainer.step(x);
    settle();
    other += now() - start;
    for (std::size_t s = 0; s < stages.size(); ++s) stages[s] += clock.seconds[s];
  }
  const auto count = static_cast<double>(steps);
  other -= data;
  for (std::size_t i = 0; i < kStageNames.size(); ++i) {
    result.stages.emplace_back(kStageNames[i], stages[i] / count);
    other -= stages[i];
  }
  result.stages.emplace_back("data", data / count);
  result.stages.emplace_back("other", other / count);
}

bool may_screen(const BenchCase& one, const BenchOptions& options, const BenchResult& result) {
  if (options.screening == Screening::kOff || options.storage == Storage::kDense) return false;
  if (options.precision != Precision::kFp32) return false;
  if (result.device != "cpu") return result.without_kernels.empty() && one.architecture == "topk";
  return options.screening == Screening::kOn || screens_by_default();
}

BenchResult measure(const BenchCase& one, const BenchOptions& options) {
  BenchResult result;
  result.of = one;
  use_threads(options.threads);
  use_device_kernels(options.kernels);
  result.threads = at::get_num_threads();
  const at::Device device = parse_device(options.device);
  result.device = device.str();
  result.precision = options.precision;
  if (device.is_cuda()) result.without_kernels = prepare_device_kernels(device);

  reset_peak_memory();
  const std::unique_ptr<ActivationSource> source = bench_batches(one, options.data);
  const auto sae = make_autoencoder(config_from_json(model_of(one), "bench"));
  sae->initialise(0);
  sae->to(device);
  const std::int64_t staged = std::min<std::int64_t>(options.steps, kMostStaged);
  const std::int64_t timed = device.is_cpu() ? options.steps : kRounds * options.steps;
  TrainOptions train;
  train.steps = kWarmUp + timed + staged + 1;
  train.batch = one.batch;
  train.screening = options.screening;
  train.b_dec_init = BDecInit::kMean;
  train.schedule.lr = 1e-7;  // the state stays the one that is to be measured
  Trainer trainer(sae, train, /*seed=*/0, options.precision);
  sae->set_encoding({options.storage, sae->encoding().screening});
  DeviceBatches batches(*source, device, one.batch, *train.steps * one.batch);
  const at::Tensor first = batches.next().to(at::kFloat);
  trainer.calibrate(first);
  keep_l0(*sae, one, first);
  result.screened = may_screen(one, options, result);
  for (int i = 0; i < kWarmUp; ++i) {
    check_interrupt();
    trainer.step(batches.next());
  }
  reset_peak_device_memory(device);
  const std::vector<double> times = time_steps(trainer, batches, options.steps, device);
  result.peak_rss_mib = peak_memory_mib();
  result.peak_device_mib = peak_device_memory_mib(device);
  result.step_s = times[times.size() / 2];
  result.fastest_step_s = times.front();
  time_stages(trainer, batches, staged, device, result);
  const Codes kept = sae->forward(first, {}).kept.to_sparse();
  result.l0 = static_cast<double>(kept.values().size(0)) / static_cast<double>(one.batch);
  measure_floor(*sae, first, result);
  return result;
}

void require_sensible(const BenchCase& one, const BenchOptions& options) {
  if (one.d_in < 1 || one.d_sae < 1 || one.batch < 1 || !(one.l0 > 0) || options.steps < 1) {
    throw ConfigError(
        "bench: got a shape or number of steps below 1, expected D,F,K,B like 768,16384,32,4096");
  }
  if (one.l0 > static_cast<double>(one.d_sae)) {
    throw ConfigError("bench: got K " + trimmed(one.l0, 3) + " of F " + std::to_string(one.d_sae) +
                      " latents, expected K at most F");
  }
  const at::Device device = parse_device(options.device);
  if (options.precision == Precision::kTf32 && !device.is_cuda()) {
    throw ConfigError("bench: got precision tf32 on " + device.str() +
                      ", which has no such products; expected fp32 or bf16");
  }
  if (options.storage == Storage::kDense && options.screening == Screening::kOn) {
    throw ConfigError(
        "bench: got screening on with dense storage, which is never screened; leave out one");
  }
}

}  // namespace

void require_measurable(const std::vector<BenchCase>& cases, const BenchOptions& options) {
  for (const BenchCase& one : cases) require_sensible(one, options);
  if (options.data.empty()) return;
  const ActivationStore store(options.data, /*verify_checksums=*/false);
  for (const BenchCase& one : cases) require_width(store.d_in(), one.d_in);
}

BenchResult bench(const BenchCase& one, const BenchOptions& options) {
  require_sensible(one, options);
  // A thread of its own, so that no buffer of an earlier case is left.
  BenchResult result;
  std::exception_ptr error;
  std::thread([&] {
    try {
      result = measure(one, options);
    } catch (...) {
      error = std::current_exception();
    }
  }).join();
  if (error) std::rethrow_exception(error);
  return result;
}

}  // namespace sae
