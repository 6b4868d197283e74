#include "sae/tools/convert.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "models/interchange/formats.h"
#include "models/interchange/hooks.h"
#include "models/interchange/provenance.h"
#include "sae/base/error.h"
#include "sae/base/folder_lock.h"
#include "sae/base/interrupt.h"
#include "sae/base/text.h"
#include "sae/data/store.h"
#include "sae/metrics/reconstruction.h"
#include "sae/training/open.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kOwnFormat = "sae";
constexpr std::int64_t kBatch = 512;  // tokens

/// The autoencoder to convert: as a PlainSae, and one of ours also as such.
struct Input {
  const SaeFormat* format = nullptr;
  PlainSae plain;
  std::shared_ptr<Autoencoder> own;
};

bool is_ours(PathKind kind) {
  return kind == PathKind::kAutoencoder || kind == PathKind::kRun ||
         kind == PathKind::kUnfinishedRun || kind == PathKind::kCheckpoint;
}

const SaeFormat& input_format(const ConvertArguments& arguments) {
  const bool ours = is_ours(what_is_at(arguments.input));
  const SaeFormat& found = ours ? sae_format(kOwnFormat) : detect_format(arguments.input);
  if (arguments.from == "auto") return found;
  const SaeFormat& wanted = sae_format(arguments.from);
  if (found.name != wanted.name && !wanted.detect(arguments.input)) {
    throw DataError(arguments.input.string() + ": found " + found.contents + " (" + found.name +
                    "), expected " + wanted.contents + " (" + wanted.name + ")");
  }
  return wanted;
}

Input read_input(const ConvertArguments& arguments) {
  const SaeFormat& format = input_format(arguments);
  if (format.name != kOwnFormat) return {&format, format.read(arguments.input), nullptr};
  OpenedSae opened = open_sae(arguments.input);
  Input input{&format, plain_of(opened.folder), opened.folder.sae};
  input.plain.notes.insert(input.plain.notes.begin(), opened.notes.begin(), opened.notes.end());
  return input;
}

/// An autoencoder as something that can be run.
class Runnable {
 public:
  /// One of ours runs as such, so that its own code is what a conversion is judged by.
  explicit Runnable(const Input& input) : own_(input.own), plain_(input.plain) {}

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

/// The activations that both are compared on. What cannot be read of them is found here, before
/// anything is written.
std::unique_ptr<const ActivationStore> activations_for(const ConvertArguments& arguments,
                                                       std::int64_t d_in) {
  if (arguments.verify.empty()) return nullptr;
  auto store =
      std::make_unique<const ActivationStore>(arguments.verify, /*verify_checksums=*/false);
  if (store->d_in() != d_in) {
    throw DataError(arguments.verify + ": activations have d_in " + std::to_string(store->d_in()) +
                    ", the autoencoder " + std::to_string(d_in));
  }
  const std::int64_t tokens = std::min(store->size(), arguments.verify_tokens);
  for (std::int64_t first = 0; first < tokens; first += kBatch) {
    check_interrupt();
    store->rows(first, std::min(kBatch, tokens - first));
  }
  return store;
}

Verification verify(const Runnable& in, const Runnable& out, const ActivationStore& store,
                    std::int64_t d_sae, std::int64_t tokens) {
  Verification result;
  result.tokens = std::min(store.size(), tokens);
  LargestDifference latents, reconstruction;
  ReconstructionMetrics metrics_in(d_sae), metrics_out(d_sae);
  for (std::int64_t first = 0; first < result.tokens; first += kBatch) {
    check_interrupt();
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

void check_name(const char* option, const std::string& name) {
  if (name == printable(name) && name.find(' ') == std::string::npos) return;
  throw ConfigError(std::string(option) + ": got '" + printable(name) +
                    "', expected a name like gpt2 or blocks.8.hook_resid_post");
}

/// Puts what the arguments say of the language model in place of what the files say, with a note
/// where that is something else.
void override_place(PlainSae& plain, const ConvertArguments& arguments) {
  check_name("--model", arguments.model);
  check_name("--hook", arguments.hook);
  const Json before = plain.source;
  if (!arguments.model.empty()) plain.source["model"] = arguments.model;
  if (!arguments.hook.empty()) set_hook(plain.source, arguments.hook);
  for (const char* key : {"model", "hook_name"}) {
    const std::string old = text_of(before, key);
    const std::string now = text_of(plain.source, key);
    const bool hook = std::string_view(key) == "hook_name";
    if (old.empty() || old == now || (hook && !plain.guess.empty())) continue;
    plain.notes.push_back(std::string(key) + " is " + printable(old) + " in " +
                          arguments.input.string() + ", replaced by " + printable(now));
    if (hook) forget_hook_details(plain);
  }
  if (arguments.hook.empty() && !plain.guess.empty()) plain.notes.push_back(plain.guess);
}

}  // namespace

std::vector<std::string> convert_formats() {
  std::vector<std::string> names;
  for (const SaeFormat& format : sae_formats()) {
    if (format.write != nullptr) names.push_back(format.name);
  }
  return names;
}

std::vector<std::string> readable_formats() {
  std::vector<std::string> names;
  for (const SaeFormat& format : sae_formats()) names.push_back(format.name);
  return names;
}

ConvertReport convert(const ConvertArguments& arguments) try {
  const at::NoGradGuard no_grad;
  const SaeFormat& to = written_format(arguments.to);
  const FolderLock lock = FolderLock::beside(arguments.output);
  if (std::filesystem::exists(arguments.output)) {
    throw ConfigError(arguments.output.string() + ": exists already; name a folder to be made");
  }
  Input in = read_input(arguments);
  PlainSae& plain = in.plain;
  override_place(plain, arguments);
  const auto activations = activations_for(arguments, plain.d_in());
  ConvertReport report{in.format->name, to.name, describe(plain), plain.d_in(), plain.d_sae(),
                       plain.notes,     {}};
  for (std::string& note : to.write(arguments.output, plain)) {
    report.warnings.push_back(std::move(note));
  }
  if (activations) {
    ConvertArguments back;
    back.input = arguments.output;
    back.from = to.name;
    report.verification = verify(Runnable(in), Runnable(read_input(back)), *activations,
                                 plain.d_sae(), arguments.verify_tokens);
  }
  return report;
} catch (const Json::exception& error) {
  throw DataError(arguments.input.string() + ": damaged: " + error.what());
}

Json to_json(const ConvertReport& report) {
  Json json{{"from", report.from}, {"to", report.to},       {"function", report.function},
            {"d_in", report.d_in}, {"d_sae", report.d_sae}, {"warnings", report.warnings}};
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
