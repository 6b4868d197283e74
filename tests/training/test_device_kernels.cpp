// Training by own CUDA kernels, on a GPU or the fake one: the same as by LibTorch's operators and
// on a CPU.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "cuda/nested.h"
#include "sae/cuda/device_kernels.h"
#include "sae/training/trainer.h"
#include "sparse/nested_sums.h"
#include "support/command_testing.h"
#include "support/fake_gpu.h"
#include "support/sae_testing.h"
#include "training/batch_pass.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kBatch = 8;
const at::Device kCpu(at::kCPU);
const at::Device kGpu(at::kCUDA, 0);

/// Every architecture, every mask, both norms; widths that 16-byte loads serve, and not.
std::vector<Json> models() {
  std::vector<Json> all;
  for (const std::string& name : architecture_names()) {
    for (const std::int64_t width : {32, 21}) {
      Json model{{"architecture", name}, {"d_in", width}, {"d_sae", 256}};
      if (name == "topk" || name == "batch_topk" || name == "matryoshka") model["k"] = 3;
      if (name == "standard" || name == "atm" || name == "jumprelu") model["sparsity"] = 0.3;
      all.push_back(model);
      if (width == 21) continue;
      for (const std::string draw : {"bernoulli", "nested", "expected"}) {
        Json masked = model;
        masked["mask"] = Json{{"draw", draw}, {"warmup_steps", 1}};
        if (draw != "bernoulli") masked["mask"].update(Json{{"importance", "frequency"}});
        all.push_back(masked);
      }
      Json free = model;
      free["decoder_norm"] = "free";
      all.push_back(free);
      Json dying = model;
      dying["dead_after_tokens"] = kBatch;
      all.push_back(dying);
    }
  }
  return all;
}

class DeviceKernelsTest : public OnGpu {
 protected:
  void SetUp() override {
    OnGpu::SetUp();
    if (IsSkipped() || HasFailure()) return;
    ASSERT_EQ(prepare_device_kernels(kGpu), "");
  }
  void TearDown() override { use_device_kernels(DeviceKernels::kAuto); }

  static Tensors trained(const Json& options, const at::Device& device,
                         Screening screening = Screening::kAuto) {
    auto sae = make_autoencoder(config_from_json(options, "test"));
    sae->initialise(3);
    {
      const at::NoGradGuard no_grad;
      if (!options.contains("k")) sae->b_enc.fill_(-2.4);
    }
    sae->to(device);
    TrainOptions train;
    train.steps = 3;
    train.batch = kBatch;
    train.log_every = 3;
    train.schedule.lr = 1e-3;
    train.screening = screening;
    Trainer trainer(sae, train, 5);
    for (std::uint64_t step = 0; step < 3; ++step) {
      const at::Tensor x = normal({kBatch, options["d_in"].get<std::int64_t>()}, step);
      trainer.step(x.to(at::kFloat).to(device));
    }
    Tensors all;
    for (const auto& [name, value] : snapshot(*sae)) all[name] = value.cpu();
    return all;
  }
};

TEST_F(DeviceKernelsTest, TrainEveryArchitectureAsOperatorsAndTheCpuDo) {
  for (const Json& model : models()) {
    SCOPED_TRACE(model.dump());
    const Tensors own = trained(model, kGpu);
    use_device_kernels(DeviceKernels::kOff);
    const Tensors operators = trained(model, kGpu);
    use_device_kernels(DeviceKernels::kAuto);
    // Adam's first steps are signs, which rounding decides where a gradient is nearly nothing.
    expect_close(own, operators, "operators", 2e-3);
    expect_close(own, trained(model, kCpu), "CPU", 2e-3);
    if (model["architecture"] != "topk") continue;
    expect_close(trained(model, kGpu, Screening::kOff), operators, "unscreened", 2e-3);
  }
}

TEST_F(DeviceKernelsTest, TwoRunsGiveTheSameBytes) {
  for (const Json& model : models()) {
    if (model["d_in"] != 21) continue;
    expect_same(trained(model, kGpu), trained(model, kGpu), model.dump());
  }
}

/// What a training pass of bfloat16 products comes to, gradients included.
Tensors passed(const Autoencoder& sae, const at::Tensor& x, Precision precision) {
  const bool bf16 = precision == Precision::kBf16;
  const BatchPass pass =
      run_batch(sae, x, {.index = 5, .seed = 5}, {.bf16 = bf16, .measure = true});
  Tensors all{{"loss", pass.total.cpu()}, {"fired", pass.statistics.fired.cpu()}};
  for (const auto& [name, value] : pass.metrics.values()) all[name] = at::full({}, value);
  for (const auto& parameter : sae.named_parameters()) {
    at::Tensor& gradient = const_cast<at::Tensor&>(parameter.value()).mutable_grad();
    if (gradient.defined()) all["d " + parameter.key()] = gradient.cpu();
    gradient = at::Tensor();
  }
  return all;
}

std::shared_ptr<Autoencoder> on_gpu(const Json& options) {
  auto sae = make_autoencoder(config_from_json(options, "test"));
  sae->initialise(3);
  {
    const at::NoGradGuard no_grad;
    if (!options.contains("k")) sae->b_enc.fill_(-2.4);
  }
  sae->to(kGpu);
  return sae;
}

/// Another autoencoder of the same weights, which has kept nothing.
std::shared_ptr<Autoencoder> fresh(const Autoencoder& sae, const Json& options) {
  auto other = on_gpu(options);
  const at::NoGradGuard no_grad;
  for (const auto& item : sae.named_parameters()) {
    other->named_parameters()[item.key()].copy_(item.value());
  }
  for (const auto& item : sae.named_buffers()) {
    other->named_buffers()[item.key()].copy_(item.value());
  }
  return other;
}

at::Tensor inputs_for(const Json& model, std::uint64_t index) {
  return normal({kBatch, model["d_in"].get<std::int64_t>()}, index).to(at::kFloat).to(kGpu);
}

TEST_F(DeviceKernelsTest, InBfloat16DifferFromOperatorsByTheRoundingOfTheDecoderAlone) {
  for (const Json& model : models()) {
    SCOPED_TRACE(model.dump());
    const auto sae = on_gpu(model);
    const at::Tensor x = inputs_for(model, 0);
    const Tensors own = passed(*sae, x, Precision::kBf16);
    use_device_kernels(DeviceKernels::kOff);
    const Tensors operators = passed(*fresh(*sae, model), x, Precision::kBf16);
    use_device_kernels(DeviceKernels::kAuto);
    ASSERT_EQ(own.size(), operators.size());
    EXPECT_TRUE(at::equal(own.at("fired"), operators.at("fired")));
    for (const auto& [name, value] : operators) {
      const double size = value.abs().max().item<double>();
      EXPECT_LE((own.at(name) - value).abs().max().item<double>(), 0.01 * size + 1e-6) << name;
    }
  }
}

TEST_F(DeviceKernelsTest, NeverComputeWithACopyOfFormerWeights) {
  const auto expect_as_fresh = [](const Autoencoder& sae, const Json& model, const char* when) {
    for (const Precision precision : {Precision::kBf16, Precision::kFp32}) {
      const at::Tensor x = inputs_for(model, 9);
      expect_same(passed(sae, x, precision), passed(*fresh(sae, model), x, precision),
                  std::string(when) + ", " + name_of(precision));
      EXPECT_TRUE(at::equal(sae.decode(sae.encode(x)).cpu(),
                            fresh(sae, model)->decode(fresh(sae, model)->encode(x)).cpu()))
          << when;
    }
  };
  const Json base{{"d_in", 32}, {"d_sae", 256}};
  Json topk = base;
  topk.update(Json{{"architecture", "topk"}, {"k", 3}});
  Json free = topk;
  free["decoder_norm"] = "free";
  Json matryoshka = base;
  matryoshka.update(Json{{"architecture", "matryoshka"}, {"k", 3}});
  Json resampled = base;
  resampled.update(Json{{"architecture", "standard"},
                        {"sparsity", 0.3},
                        {"resample_every", 2},
                        {"dead_after_tokens", kBatch}});
  for (const Json& model : {topk, free, matryoshka, resampled}) {
    for (const Precision precision : {Precision::kBf16, Precision::kFp32}) {
      if (precision == Precision::kFp32 && model != topk) continue;  // nothing is kept
      SCOPED_TRACE(model.dump() + name_of(precision));
      const auto sae = on_gpu(model);
      TrainOptions train;
      train.steps = 20;
      train.batch = kBatch;
      train.log_every = 100;
      train.schedule.lr = 1e-2;
      Trainer trainer(sae, train, 5, precision);
      std::uint64_t step = 0;
      const auto steps = [&](int count) {
        for (; count > 0; --count) trainer.step(inputs_for(model, step++));
      };
      steps(1);
      expect_as_fresh(*sae, model, "after a step");
      steps(3);
      expect_as_fresh(*sae, model, "after four, one of which resampled");
      {
        const at::NoGradGuard no_grad;
        sae->W_enc.mul_(1.5);
        sae->W_dec.slice(0, 3, 9).neg_();
      }
      expect_as_fresh(*sae, model, "after a change in place");
      use_device_kernels(DeviceKernels::kOff);
      steps(1);
      use_device_kernels(DeviceKernels::kAuto);
      expect_as_fresh(*sae, model, "after a step by operators");
      steps(1);
      expect_as_fresh(*sae, model, "after a step again");
      Adam(sae, {}).step(0);  // no gradient, but rows return to norm 1
      expect_as_fresh(*sae, model, "after a step of another optimizer");
      sae->W_enc.set_data(sae->W_enc.detach() + 1);
      sae->W_dec.set_data(sae->W_dec.detach().flip(0));
      expect_as_fresh(*sae, model, "after weights were exchanged");
      sae->to(kCpu);
      sae->to(kGpu);
      expect_as_fresh(*sae, model, "after a journey");
    }
  }
}

TEST_F(DeviceKernelsTest, AddUpNestedErrorsByAnySlicesOfColumns) {
  for (const std::int64_t width : {300, 290}) {
    const Codes codes = sparse_codes(normal({9, 40}, 1).relu()).with_values({});
    const Pattern& host = *codes.pattern();
    const auto pattern = Pattern::sparse(host.indices.to(kGpu), host.offsets.to(kGpu), 40);
    const at::Tensor values = normal({host.indices.size(0)}, 2).to(at::kFloat);
    const at::Tensor x = normal({9, width}, 3).to(at::kFloat);
    const at::Tensor W = normal({40, width}, 4).to(at::kFloat);
    const at::Tensor b = normal({width}, 5).to(at::kFloat);
    const Nesting nesting{at::arange(39, -1, -1, at::kLong),
                          at::arange(1, 41, at::kDouble).div_(40)};
    const sparse::NestedSums expected =
        sparse::nested_sums(host, x, values, nesting, W, b, /*gradients=*/true);
    const at::Tensor order = at::argsort((pattern->tokens() + 1) * 40 - pattern->indices);
    const at::Tensor on[] = {x.to(kGpu), values.to(kGpu), nesting.chance.to(kGpu), W.to(kGpu),
                             b.to(kGpu)};
    const cuda::NestedInput in{on[0], on[1], pattern->indices, pattern->offsets, order, on[2],
                               on[3], on[4]};
    const Pattern::ByLatent& sorted = pattern->by_latent();
    const cuda::ByLatent by_latent{sorted.entries, sorted.tokens, sorted.offsets};
    for (const std::int64_t held : {std::int64_t{1} << 27, std::int64_t{1}}) {
      const cuda::NestedResult found = cuda::nested_errors(in, &by_latent, held);
      const std::string what = std::to_string(width) + ", " + std::to_string(held);
      expect_close(found.error, expected.error, what + " error", 1e-5);
      expect_close(found.x_hat, expected.x_hat, what + " x_hat", 1e-5);
      expect_close(found.dvalues, expected.dvalues, what + " dvalues", 1e-5);
      expect_close(found.dW, expected.dW, what + " dW", 1e-5);
      expect_close(found.db, expected.db, what + " db", 1e-5);
    }
    const cuda::NestedResult plain = cuda::nested_errors(in, nullptr);
    expect_close(plain.error, expected.error, "without gradients", 1e-5);
    EXPECT_FALSE(plain.dW.defined());
  }
}

TEST_F(DeviceKernelsTest, StepsOfALanguageModelsSizeAgreeWithOperators) {
  if (std::getenv("SAE_FAKE_GPU")) GTEST_SKIP() << "too large for the fake GPU";
  for (const char* name : {"topk", "batch_topk", "jumprelu"}) {
    Json model{{"architecture", name}, {"d_in", 2304}, {"d_sae", 16384}};
    if (std::string(name) != "jumprelu") model["k"] = 40;
    const Tensors own = trained(model, kGpu);
    use_device_kernels(DeviceKernels::kOff);
    expect_close(own, trained(model, kGpu), name, 2e-3);
    use_device_kernels(DeviceKernels::kAuto);
  }
}

TEST_F(DeviceKernelsTest, DrawTheMasksThatTheHostDraws) {
  const auto sae = make_sae({{"architecture", "topk"},
                             {"d_in", 4},
                             {"d_sae", 1001},
                             {"k", 2},
                             {"mask", {{"draw", "bernoulli"}, {"warmup_steps", 0}, {"rate", 2}}}});
  set_mask_statistics(*sae, 5);
  const at::Tensor expected = sae->mask()->sample(7, 12);
  ASSERT_GT((expected == 0).sum().item<std::int64_t>(), 100);
  sae->to(kGpu);
  EXPECT_TRUE(at::equal(sae->mask()->sample(7, 12).cpu(), expected));
}

/// The command on the fake GPU, with a cache of its own.
class DeviceKernelsCommand : public CommandTest {
 protected:
  void SetUp() override {
    if (!std::getenv("SAE_FAKE_GPU")) GTEST_SKIP() << "no fake GPU";
    setenv("XDG_CACHE_HOME", path("cache").c_str(), 1);
  }
  void TearDown() override {
    unsetenv("XDG_CACHE_HOME");
    unsetenv("FAKE_GPU_NVRTC");
    unsetenv("FAKE_GPU_REPORT");
  }

  CommandResult trained(const std::string& out) const {
    Json config = topk_config(4);
    config["kernels"] = "auto";
    return sae({"train", write_config(config), "--out", path(out).string()});
  }
  std::string weights(const std::string& out) const {
    return read_file(path(out) / "sae" / "sae.safetensors");
  }
};

TEST_F(DeviceKernelsCommand, CompilesOnceAndMakesAnewWhatIsDamaged) {
  setenv("FAKE_GPU_REPORT", "1", 1);
  const CommandResult first = trained("first");
  ASSERT_EQ(first.status, 0) << first.err;
  EXPECT_NE(first.err.find("operator compile:"), std::string::npos) << first.err;
  const CommandResult second = trained("second");
  EXPECT_EQ(second.err.find("operator compile:"), std::string::npos) << second.err;
  int damaged = 0;
  for (const auto& file : fs::directory_iterator(path("cache") / "sae.cpp" / "kernels")) {
    const std::string bytes = read_file(file.path());
    write_file_atomically(file.path(), bytes.substr(0, bytes.size() / 2));
    ++damaged;
  }
  EXPECT_GT(damaged, 0);
  const CommandResult third = trained("third");
  EXPECT_EQ(third.status, 0) << third.err;
  EXPECT_NE(third.err.find("operator compile: " + std::to_string(damaged)), std::string::npos)
      << third.err;
  EXPECT_EQ(weights("third"), weights("first"));
}

TEST_F(DeviceKernelsCommand, SaysWhyThereAreNoneAndGoesOn) {
  setenv("FAKE_GPU_NVRTC", "fails", 1);
  const CommandResult result = trained("run");
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.err.find("LibTorch's operators alone"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("told to fail"), std::string::npos) << result.err;
  // And so does whatever evaluates.
  const CommandResult evaluated = sae({"eval", path("run").string()});
  EXPECT_EQ(evaluated.status, 0) << evaluated.err;
  EXPECT_NE(evaluated.err.find("told to fail"), std::string::npos) << evaluated.err;
  ASSERT_EQ(
      sae({"synth", "--preset", "tiny", "--tokens", "300", "--out", path("store").string()}).status,
      0);
  const CommandResult shown = sae({"features", path("run").string(), "--data",
                                   path("store").string(), "--out", path("pages").string()});
  EXPECT_EQ(shown.status, 0) << shown.err;
  EXPECT_NE(shown.err.find("told to fail"), std::string::npos) << shown.err;
}

TEST_F(DeviceKernelsCommand, SaysNothingOfKernelsWhereTheyAreThere) {
  ASSERT_EQ(trained("run").status, 0);
  const CommandResult evaluated = sae({"eval", path("run").string()});
  EXPECT_EQ(evaluated.status, 0) << evaluated.err;
  EXPECT_EQ(evaluated.err.find("operators alone"), std::string::npos) << evaluated.err;
}

TEST_F(DeviceKernelsCommand, WorksWithoutACache) {
  write_text(path("cache"), "a file, where the folder would be");
  EXPECT_EQ(trained("run").status, 0);
}

}  // namespace
}  // namespace sae
