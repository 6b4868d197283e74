#include "sae/tools/convert.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "sae/base/error.h"
#include "sae/base/folder_lock.h"
#include "sae/data/store.h"
#include "sae/metrics/reconstruction.h"
#include "sae/models/sae_folder.h"
#include "tools/convert/formats.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

const SaeFormat& input_format(const ConvertArguments& arguments) {
  const SaeFormat& found = detect_format(arguments.input);
  if (arguments.from == "auto") return found;
  const SaeFormat& wanted = sae_format(arguments.from);
  if (!wanted.detect(arguments.input)) {
    throw DataError(arguments.input.string() + ": found " + found.contents + " (" + found.name +
                    "), expected " + wanted.contents + " (" + wanted.name + ")");
  }
  return wanted;
}

/// An autoencoder as something that can be run.
class Runnable {
 public:
  /// One of ours runs as such, so that its own code is what a conversion is judged by.
  Runnable(const SaeFormat& format, const std::filesystem::path& path, const PlainSae* read) {
    if (format.name == own_format().name) {
      const bool run = std::filesystem::exists(path / "sae" / "config.json");
      own_ = load_sae(run ? path / "sae" : path).sae;
    } else {
      plain_ = read != nullptr ? *read : format.read(path);
    }
  }

  at::Tensor encode(const at::Tensor& x) const {  // [B, D] -> [B, F]
    return own_ ? own_->encode(x).to_dense() : sae::encode(plain_, x);
  }
  at::Tensor decode(const at::Tensor& f) const {
    return own_ ? own_->decode(Codes::from_dense(f)) : sae::decode(plain_, f);
  }

 private:
  std::shared_ptr<Autoencoder> own_;
  PlainSae plain_;
};

/// Keeps the largest differences of the pairs it is shown.
class LargestDifference {
 public:
  void add(const at::Tensor& a, const at::Tensor& b) {
    difference_ = std::max(difference_, (a - b).abs().max().item<double>());
    size_ = std::max(size_, a.abs().max().item<double>());
  }
  Verification::Difference value() const {
    if (difference_ == 0) return {};
    return {difference_, size_ > 0 ? difference_ / size_ : std::numeric_limits<double>::infinity()};
  }

 private:
  double difference_ = 0;
  double size_ = 0;
};

Verification verify(const Runnable& in, const Runnable& out, std::int64_t d_in, std::int64_t d_sae,
                    const ConvertArguments& arguments) {
  constexpr std::int64_t kBatch = 512;
  const ActivationStore store(arguments.verify, /*verify_checksums=*/false);
  if (store.d_in() != d_in) {
    throw DataError(arguments.verify + ": activations have d_in " + std::to_string(store.d_in()) +
                    ", the autoencoder " + std::to_string(d_in));
  }
  Verification result;
  result.tokens = std::min(store.size(), arguments.verify_tokens);
  LargestDifference latents, reconstruction;
  ReconstructionMetrics metrics_in(d_sae), metrics_out(d_sae);
  for (std::int64_t first = 0; first < result.tokens; first += kBatch) {
    const at::Tensor x = store.rows(first, std::min(kBatch, result.tokens - first));
    const at::Tensor f_in = in.encode(x), f_out = out.encode(x);
    const at::Tensor x_in = in.decode(f_in), x_out = out.decode(f_out);
    latents.add(f_in, f_out);
    reconstruction.add(x_in, x_out);
    result.active_on_one_side += at::logical_xor(f_in > 0, f_out > 0).sum().item<std::int64_t>();
    metrics_in.add(x, x_in, Codes::from_dense(f_in));
    metrics_out.add(x, x_out, Codes::from_dense(f_out));
  }
  result.latents = latents.value();
  result.reconstruction = reconstruction.value();
  result.l0_in = metrics_in.values().at("l0");
  result.l0_out = metrics_out.values().at("l0");
  result.explained_variance_in = metrics_in.values().at("explained_variance");
  result.explained_variance_out = metrics_out.values().at("explained_variance");
  return result;
}

}  // namespace

std::vector<std::string> convert_formats() {
  std::vector<std::string> names;
  for (const SaeFormat& format : sae_formats()) names.push_back(format.name);
  return names;
}

ConvertReport convert(const ConvertArguments& arguments) try {
  const at::NoGradGuard no_grad;
  const SaeFormat& to = sae_format(arguments.to);
  const SaeFormat& from = input_format(arguments);
  const FolderLock lock = FolderLock::beside(arguments.output);
  if (std::filesystem::exists(arguments.output)) {
    throw ConfigError(arguments.output.string() + ": exists already; name a folder to be made");
  }
  const PlainSae plain = from.read(arguments.input);
  to.write(arguments.output, plain);
  ConvertReport report{from.name, to.name, describe(plain), plain.d_in(), plain.d_sae(), {}};
  if (!arguments.verify.empty()) {
    report.verification =
        verify(Runnable(from, arguments.input, &plain), Runnable(to, arguments.output, nullptr),
               plain.d_in(), plain.d_sae(), arguments);
  }
  return report;
} catch (const Json::exception& error) {
  throw DataError(arguments.input.string() + ": damaged: " + error.what());
}

Json to_json(const ConvertReport& report) {
  Json json{{"from", report.from},
            {"to", report.to},
            {"function", report.function},
            {"d_in", report.d_in},
            {"d_sae", report.d_sae}};
  if (!report.verification) return json;
  const Verification& result = *report.verification;
  const auto difference = [](const Verification::Difference& largest) {
    return Json{{"absolute", largest.absolute}, {"relative", largest.relative}};
  };
  json["verification"] =
      Json{{"tokens", result.tokens},
           {"latents", difference(result.latents)},
           {"reconstruction", difference(result.reconstruction)},
           {"active_on_one_side", result.active_on_one_side},
           {"l0", {{"in", result.l0_in}, {"out", result.l0_out}}},
           {"explained_variance",
            {{"in", result.explained_variance_in}, {"out", result.explained_variance_out}}}};
  return json;
}

}  // namespace sae
