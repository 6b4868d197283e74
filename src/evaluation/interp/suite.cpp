#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <utility>

#include "evaluation/interp/draws.h"
#include "evaluation/interp/encode.h"
#include "evaluation/interp/result.h"
#include "sae/base/error.h"
#include "sae/base/sha256.h"
#include "sae/evaluation/suites.h"

namespace sae {
namespace {

/// Whole contexts, each with the chance that leaves about `options.token_rows` rows of all.
std::vector<std::int64_t> rows_for_tokens(const ActivationStore& store,
                                          const std::vector<std::int64_t>& rows,
                                          const InterpOptions& options) {
  if (std::ssize(rows) <= options.token_rows) return rows;
  const double share = static_cast<double>(options.token_rows) / static_cast<double>(rows.size());
  const at::Tensor contexts = store.context(0, store.size()).contiguous();
  const auto* of_row = contexts.const_data_ptr<std::int32_t>();
  std::vector<std::int64_t> out;
  for (const std::int64_t row : rows) {
    const auto own = static_cast<std::uint32_t>(of_row[row]);
    Rng rng(static_cast<std::uint64_t>(options.seed), Stream::kEvaluation,
            interp_draw::kTokenRows | own);
    if (rng.uniform() < share) out.push_back(row);
  }
  return out;
}

std::int64_t contexts_in(const InterpSample& sample) {
  std::set<std::int32_t> contexts;
  for (std::int64_t row = 0; row < sample.size(); ++row) contexts.insert(sample.context(row));
  return std::ssize(contexts);
}

/// Token metrics of the eligible latents on `sample`, which may be all of a store.
void add_token_metrics(const Autoencoder& sae, const ActivationStore& store,
                       const InterpSample& sample, const LatentSelection& selection,
                       const InterpOptions& options, std::vector<LatentScores>& scores) {
  std::vector<std::int64_t> place(selection.standing.size(), -1);
  for (std::size_t i = 0; i < selection.eligible.size(); ++i) {
    place[static_cast<std::size_t>(selection.eligible[i])] = static_cast<std::int64_t>(i);
  }
  TokenTally tally(selection.eligible.size(), options.seed);
  encode_rows(sae, store, sample.rows(), options.batch, [&](std::int64_t first, auto& codes) {
    for (std::int64_t i = 0; i < codes.rows(); ++i) {
      tally.add_row(sample.token(first + i), sample.context(first + i));
      for (std::int64_t entry = codes.begin(i); entry < codes.end(i); ++entry) {
        const auto at = static_cast<std::size_t>(entry);
        const std::int64_t own = place[static_cast<std::size_t>(codes.indices[at])];
        if (own >= 0 && codes.values[at] > 0) {
          tally.add(static_cast<std::size_t>(own), codes.values[at]);
        }
      }
    }
  });
  tally.finish(scores);
}

/// The same of firings on the sample itself.
void add_token_metrics(const InterpSample& sample, const std::vector<Firings>& firings,
                       const LatentSelection& selection, const InterpOptions& options,
                       std::vector<LatentScores>& scores) {
  std::vector<std::tuple<std::int32_t, std::int32_t, float>> by_row;  // row, place, activation
  for (std::size_t i = 0; i < selection.eligible.size(); ++i) {
    const Firings& own = firings[static_cast<std::size_t>(selection.eligible[i])];
    for (std::size_t k = 0; k < own.rows.size(); ++k) {
      by_row.emplace_back(own.rows[k], static_cast<std::int32_t>(i), own.values[k]);
    }
  }
  std::sort(by_row.begin(), by_row.end());
  TokenTally tally(selection.eligible.size(), options.seed);
  std::size_t next = 0;
  for (std::int64_t row = 0; row < sample.size(); ++row) {
    tally.add_row(sample.token(row), sample.context(row));
    for (; next < by_row.size() && std::get<0>(by_row[next]) == row; ++next) {
      tally.add(static_cast<std::size_t>(std::get<1>(by_row[next])), std::get<2>(by_row[next]));
    }
  }
  tally.finish(scores);
}

}  // namespace

/// What all autoencoders on one store share.
struct InterpSuite::Prepared {
  std::shared_ptr<const ActivationStore> store;
  JudgeFacts facts;
  InterpSample sample;
  InterpSample token_sample;  // the rows that token metrics rest on
  JudgedSample judged;
  JudgedSample by_tokens;

  Prepared(std::shared_ptr<const ActivationStore> of, JudgeFacts judge, InterpSample rows,
           InterpSample token_rows, const JudgeFile* file, const InterpOptions& options)
      : store(std::move(of)),
        facts(std::move(judge)),
        sample(std::move(rows)),
        token_sample(std::move(token_rows)),
        judged(sample, file ? file->whole : tokens_of(sample), file ? file->blind : nullptr,
               options),
        by_tokens(sample, tokens_of(sample), nullptr, options) {}
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;

 private:
  static std::shared_ptr<const JudgeVectors> tokens_of(const InterpSample& sample) {
    return std::make_shared<const JudgeVectors>(JudgeVectors::of_tokens(sample));
  }
};

InterpSuite::InterpSuite(const std::optional<std::filesystem::path>& judge, InterpOptions options)
    : judge_(judge ? std::make_shared<const JudgeFile>(read_judge(*judge)) : nullptr),
      options_(std::move(options)) {}

InterpSuite::~InterpSuite() = default;

std::int64_t InterpSuite::rows() const { return judge_ ? std::ssize(judge_->rows) : options_.rows; }

std::shared_ptr<const InterpSuite::Prepared> InterpSuite::prepared(const Data& data) const {
  if (!data.held_out_store) {
    throw DataError(
        "--suite interp: the held-out data are no store, expected one with the token and the "
        "context of each row; harvest one, and give it with --data");
  }
  const auto& store = data.held_out_store;
  require_text(*store);
  std::vector<std::int64_t> rows = data.held_out_rows();
  const std::string_view bytes(reinterpret_cast<const char*>(rows.data()),
                               rows.size() * sizeof(std::int64_t));
  const std::string key = (data.fingerprint ? data.fingerprint->held_out.digest : store->digest()) +
                          " " + sha256_hex(bytes);
  const std::lock_guard lock(mutex_);
  std::shared_ptr<const Prepared>& place = prepared_[key];
  if (place) return place;
  InterpSample token_sample = sample_of(*store, rows_for_tokens(*store, rows, options_));
  if (!judge_) {
    place = std::make_shared<const Prepared>(store, JudgeFacts{.name = "token"},
                                             draw_sample(*store, options_, rows),
                                             std::move(token_sample), nullptr, options_);
    return place;
  }
  require_judge_of(*judge_, *store);
  const bool all = std::ssize(rows) == store->size();
  const JudgeFile own = all ? *judge_ : judge_of_rows(*judge_, rows);
  if (own.rows.empty()) {
    throw DataError(judge_->place + ": none of its " + std::to_string(judge_->rows.size()) +
                    " rows of " + store->path().string() +
                    " is held out; make it of a store that is held out as a whole");
  }
  const JudgeFacts facts{
      own.model,           own.revision, own.window, own.place, is_model_of(own, *store),
      own.blind != nullptr};
  place = std::make_shared<const Prepared>(store, facts, sample_of(*store, own.rows),
                                           std::move(token_sample), &own, options_);
  return place;
}

SuiteOutcome InterpSuite::run(const Autoencoder& sae, const Data& data) const {
  const auto on = prepared(data);
  const SampleFirings firings = collect_firings(sae, *on->store, on->sample, options_);
  InterpResult result;
  result.judge = on->facts;
  result.store = on->store->path().string();
  result.d_sae = sae.d_sae();
  result.rows = on->sample.size();
  result.contexts = contexts_in(on->sample);
  result.token_rows = on->token_sample.size();
  result.list_latents = options_.latents;
  result.selection = select_latents(on->sample, firings, options_);
  const auto& eligible = result.selection.eligible;
  result.latents = judge_latents(on->judged, firings.latents, eligible);
  add_token_metrics(sae, *on->store, on->token_sample, result.selection, options_, result.latents);
  result.own = summarise(result.latents, options_);
  if (judge_) {
    result.by_tokens = summarise(judge_latents(on->by_tokens, firings.latents, eligible), options_);
  }
  std::vector<Firings> moved(firings.latents.size());
  for (const std::int64_t latent : eligible) {
    const auto i = static_cast<std::size_t>(latent);
    moved[i] = shuffled(firings.latents[i], on->sample.size(), latent, options_.seed);
  }
  auto chance = judge_latents(on->judged, moved, eligible);
  add_token_metrics(on->sample, moved, result.selection, options_, chance);
  result.shuffled = summarise(chance, options_);

  SuiteOutcome out;
  out.suite = "interp";
  out.mean = result.values();
  out.by_class = result.by_bin();
  out.details = nlohmann::ordered_json::array({result.json()});
  out.basis = result.basis();
  out.unranked = result.unranked();
  out.remark = result.remark();
  return out;
}

}  // namespace sae
