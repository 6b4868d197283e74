#include "training/run_notices.h"

#include <cstdint>
#include <optional>
#include <string>

#include "sae/base/device.h"
#include "sae/base/text.h"

namespace sae {
namespace {

/// From here on the tokens are learned by heart rather than sampled.
constexpr double kManyPasses = 10;

std::string count(std::int64_t tokens) {
  return std::to_string(tokens) + (tokens == 1 ? " token" : " tokens");
}

std::optional<Notice> about_whole_batches(const TrainOptions& train) {
  const std::int64_t used = train.total_steps() * train.batch;
  if (!train.tokens || *train.tokens == used) return {};
  return Notice{Notice::Kind::kNote, "train.tokens: of " + std::to_string(*train.tokens) + ", " +
                                         std::to_string(used) + " are whole batches of " +
                                         std::to_string(train.batch) + "; the other " +
                                         std::to_string(*train.tokens - used) + " are left out"};
}

std::optional<Notice> about_passes(const TrainOptions& train, std::int64_t there,
                                   const std::string& name) {
  const std::int64_t used = train.total_steps() * train.batch;
  if (used <= there) return {};
  const double passes = static_cast<double>(used) / static_cast<double>(there);
  const bool many = passes >= kManyPasses;
  return Notice{many ? Notice::Kind::kWarning : Notice::Kind::kNote,
                name + ": training on " + count(used) + " takes " + trimmed(passes, many ? 0 : 2) +
                    " passes over " + count(there) +
                    (many ? "; give more data, or fewer train.steps" : "")};
}

std::optional<Notice> about_fewer(const char* option, std::int64_t wanted, std::int64_t there,
                                  const std::string& name, const char* use) {
  if (wanted <= there) return {};
  return Notice{Notice::Kind::kNote, name + ": " + option + " asks for " + std::to_string(wanted) +
                                         ", there are " + count(there) + ": " + use +
                                         " rest on these"};
}

std::string name_of_training(const Data& data) {
  return data.fingerprint ? data.fingerprint->train.name : "training data";
}

std::string percent(double share) { return trimmed(100 * share, 1) + " %"; }

}  // namespace

std::optional<Notice> kernels_for(const RunOptions& options) {
  use_device_kernels(options.basics.kernels);
  return notice_about_kernels(parse_device(options.basics.device));
}

std::vector<Notice> notices_about(const RunOptions& options, const Data& data) {
  const TrainOptions& train = options.train.train;
  std::vector<Notice> notices = data.notices;
  const auto add = [&](const std::optional<Notice>& notice) {
    if (notice) notices.push_back(*notice);
  };
  const std::string name = name_of_training(data);
  const std::string held_out =
      data.fingerprint ? data.fingerprint->held_out.name + ", held out" : "held-out data";
  add(kernels_for(options));
  add(about_whole_batches(train));
  if (data.train_tokens) {
    add(about_passes(train, *data.train_tokens, name));
    add(about_fewer("train.calibration_tokens", train.calibration_tokens, *data.train_tokens, name,
                    "input scale and b_dec"));
  }
  if (data.held_out_tokens) {
    add(about_fewer("eval.tokens", options.eval.tokens, *data.held_out_tokens, held_out,
                    "evaluations"));
  }
  return notices;
}

std::vector<Notice> notices_about(const InputStatistics& inputs, const RunOptions& options,
                                  const Data& data) {
  std::vector<Notice> notices;
  const auto warn = [&](const std::string& text) {
    notices.push_back({Notice::Kind::kWarning, name_of_training(data) + ": " + text});
  };
  if (inputs.large_share > kMuchInLarge) {
    warn(std::to_string(inputs.large) + " of the first " + count(inputs.tokens) +
         " have more than " + trimmed(kLargeNorm, 0) + " times the median norm and hold " +
         percent(inputs.large_share) +
         " of the squared norm: explained variance is about these; leave them out of the store "
         "(sae inspect)");
  }
  if (inputs.mean_share > kMuchInMean && options.train.train.input_centre == InputCentre::kNone) {
    warn("the mean vector holds " + percent(inputs.mean_share) +
         " of the squared norm: cosine and NMSE are good for any reconstruction, thresholds and "
         "penalties depend on it; set train.input_centre=mean");
  }
  return notices;
}

}  // namespace sae
