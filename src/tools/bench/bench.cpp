#include "sae/tools/bench.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/parallel.h"
#include "base/stages.h"
#include "sae/base/device.h"
#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sae/base/text.h"
#include "sae/data/data.h"
#include "sae/data/store.h"
#include "sae/models/architectures.h"
#include "sae/training/run.h"
#include "sae/training/trainer.h"
#include "tools/bench/peak_memory.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kWarmUp = 3;
constexpr std::int64_t kBatchesInMemory = 3;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class Body>
double fastest_of(int times, const Body& body) {
  double best = INFINITY;
  for (int i = 0; i < times; ++i) {
    check_interrupt();
    const double start = now();
    body();
    best = std::min(best, now() - start);
  }
  return best;
}

void require_width(std::int64_t width, std::int64_t d_in) {
  if (width == d_in) return;
  throw DataError("bench: activations have width " + std::to_string(width) + ", the shape says D " +
                  std::to_string(d_in));
}

/// Batches: from memory, or from a store as in training.
class Batches {
 public:
  Batches(const BenchCase& one, const std::string& store) {
    if (!store.empty()) {
      source_ = open({{"kind", "store"}, {"path", store}}, one.d_in).train();
      return;
    }
    // Zipf rates and trees as in small-zipf; what is left out takes long to build and changes no
    // timing.
    const Json world{{"kind", "synthetic"},
                     {"preset", "small-zipf"},
                     {"d_in", one.d_in},
                     {"features", std::max<std::int64_t>(1024, std::min(4 * one.d_in, one.d_sae))},
                     {"correlation_rank", 0},
                     {"orthogonal_steps", 0}};
    const auto source = open(world, one.d_in).train();
    for (std::int64_t i = 0; i < kBatchesInMemory; ++i) kept_.push_back(source->next(one.batch));
  }

  at::Tensor next(std::int64_t count) {
    if (source_) return source_->next(count);
    return kept_[static_cast<std::size_t>(next_++ % kBatchesInMemory)];
  }

 private:
  static Data open(const Json& group, std::int64_t d_in) {
    Data data = open_data(config_from_json(group, "bench"), /*seed=*/0);
    require_width(data.d_in, d_in);
    return data;
  }

  std::unique_ptr<ActivationSource> source_;
  std::vector<at::Tensor> kept_;
  std::int64_t next_ = 0;
};

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
  if (*one.mask == MaskDraw::kNested) model["mask"]["paths"] = "both";
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
  const double copied = fastest_of(3, [&] { to.copy_(from); });
  return copied / (2.0 * static_cast<double>(from.nbytes()));
}

void measure_floor(const Autoencoder& sae, const at::Tensor& x, BenchResult& result) {
  const at::NoGradGuard no_grad;
  const at::Tensor W = sae.W_enc.detach().t();
  result.gemm_s = fastest_of(5, [&] { at::mm(x, W); });
  double product = result.gemm_s;
  if (result.screened) {
    const at::Tensor low_x = x.to(at::kBFloat16);
    const at::Tensor low_W = sae.W_enc.detach().to(at::kBFloat16).t();
    product = fastest_of(5, [&] { at::mm(low_x, low_W); });
  }
  const double parameters = 2.0 * static_cast<double>(sae.d_sae() * sae.d_in());
  const double rows = result.l0 * static_cast<double>(x.size(0) * sae.d_in());
  result.floor_s = product + sizeof(float) * (7 * parameters + 4 * rows) * seconds_per_byte(W);
}

BenchResult measure(const BenchCase& one, const BenchOptions& options) {
  BenchResult result;
  result.of = one;
  use_threads(options.threads);
  result.threads = at::get_num_threads();
  const at::Device device = parse_device(options.device);
  result.device = device.str();

  reset_peak_memory();
  Batches batches(one, options.data);
  const auto sae = make_autoencoder(config_from_json(model_of(one), "bench"));
  sae->initialise(0);
  sae->to(device);
  TrainOptions train;
  train.steps = options.steps + kWarmUp + 1;
  train.batch = one.batch;
  train.screening = options.screening;
  train.b_dec_init = BDecInit::kMean;
  train.schedule.lr = 1e-7;  // the state stays the one that is to be measured
  Trainer trainer(sae, train);
  sae->set_encoding({options.storage, sae->encoding().screening});
  const at::Tensor first = batches.next(one.batch);
  trainer.calibrate(first);
  keep_l0(*sae, one, first.to(device));
  result.screened = options.screening != Screening::kOff && options.storage != Storage::kDense &&
                    device.is_cpu() &&
                    (options.screening == Screening::kOn || screens_by_default());
  for (int i = 0; i < kWarmUp; ++i) {
    check_interrupt();
    trainer.step(batches.next(one.batch));
  }

  std::vector<double> times;
  double data_s = 0;
  std::array<double, kStageNames.size()> stages{};
  for (std::int64_t i = 0; i < options.steps; ++i) {
    check_interrupt();
    const StageClock clock;
    const double start = now();
    const at::Tensor x = batches.next(one.batch);
    data_s += now() - start;
    trainer.step(x);
    if (!device.is_cpu()) sae->b_dec.sum().item<float>();  // wait for it
    times.push_back(now() - start);
    for (std::size_t s = 0; s < stages.size(); ++s) stages[s] += clock.seconds[s];
  }
  result.peak_rss_mib = peak_memory_mib();
  const Codes kept = sae->forward(first.to(device), {}).kept.to_sparse();
  result.l0 = static_cast<double>(kept.values().size(0)) / static_cast<double>(one.batch);

  std::sort(times.begin(), times.end());
  result.step_s = times[times.size() / 2];
  result.fastest_step_s = times.front();
  double other = 0;
  for (const double time : times) other += time;
  other -= data_s;
  const auto steps = static_cast<double>(options.steps);
  for (std::size_t i = 0; i < kStageNames.size(); ++i) {
    result.stages.emplace_back(kStageNames[i], stages[i] / steps);
    other -= stages[i];
  }
  result.stages.emplace_back("data", data_s / steps);
  result.stages.emplace_back("other", other / steps);
  measure_floor(*sae, first.to(device), result);
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

Json to_json(const BenchResult& result) {
  Json stages = Json::object();
  for (const auto& [name, seconds] : result.stages) stages[name] = seconds;
  return {{"arch", result.of.architecture},
          {"mask", result.of.mask ? Json(name_of(*result.of.mask)) : Json()},
          {"d", result.of.d_in},
          {"n", result.of.d_sae},
          {"k", result.of.l0},
          {"batch", result.of.batch},
          {"step_s", result.step_s},
          {"fastest_step_s", result.fastest_step_s},
          {"tokens_per_s", result.tokens_per_s()},
          {"gemm_s", result.gemm_s},
          {"gemms_per_step", result.gemms_per_step()},
          {"floor_s", result.floor_s},
          {"floor_share", result.floor_s / result.step_s},
          {"peak_rss_mib", result.peak_rss_mib},
          {"l0", result.l0},
          {"screened", result.screened},
          {"device", result.device},
          {"threads", result.threads},
          {"stages", stages}};
}

std::string to_text(const BenchResult& result) {
  const BenchCase& of = result.of;
  std::string text = of.architecture + (of.mask ? " with mask " + name_of(*of.mask) : "") + "  D " +
                     std::to_string(of.d_in) + "  F " + std::to_string(of.d_sae) + "  K " +
                     fixed(of.l0, of.l0 < 10 ? 1 : 0) + "  B " + std::to_string(of.batch) +
                     "  (L0 " + fixed(result.l0, 1) + ")\n";
  text += "  " + fixed(1e3 * result.step_s, 1) + " ms a step, " + fixed(result.tokens_per_s(), 0) +
          " tokens/s, " + fixed(result.gemms_per_step(), 2) + " GEMMs of " +
          fixed(1e3 * result.gemm_s, 1) + " ms\n";
  text += "  floor " + fixed(100 * result.floor_s / result.step_s, 0) + " %, peak memory " +
          fixed(result.peak_rss_mib, 0) + " MiB" + (result.screened ? ", screened" : "") + "\n ";
  std::string line;
  for (const auto& [name, seconds] : result.stages) {
    const std::string part = " " + name + " " + fixed(1e3 * seconds, 1);
    if (line.size() + part.size() > 76) {
      text += line + "\n ";
      line.clear();
    }
    line += part;
  }
  return text + line + "\n";
}

}  // namespace sae
