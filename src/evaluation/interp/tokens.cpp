#include <algorithm>
#include <cmath>

#include "sae/evaluation/interp.h"

namespace sae {

void TokenTally::add_row(std::int32_t token, std::int32_t context) {
  token_ = token;
  on_reference_ = is_reference(context, seed_);
  Side& side = on_reference_ ? reference_ : query_;
  ++side.rows;
  ++side.of_token[token];
}

void TokenTally::add(std::size_t latent, float activation) {
  Latent& own = latents_[latent];
  const double a = double{activation};
  own.entries.push_back({token_, 1, on_reference_ ? a : 0, on_reference_ ? 0 : a});
  if (!on_reference_) own.query_square += a * a;
  if (own.entries.size() > 64 + 2 * own.merged) merge(own);
}

void TokenTally::merge(Latent& latent) {
  auto& entries = latent.entries;
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.token < b.token; });
  std::size_t end = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (end > 0 && entries[end - 1].token == entries[i].token) {
      entries[end - 1].firings += entries[i].firings;
      entries[end - 1].reference += entries[i].reference;
      entries[end - 1].query += entries[i].query;
    } else {
      entries[end++] = entries[i];
    }
  }
  entries.resize(end);
  latent.merged = end;
}

double TokenTally::silent_square() const {
  double sum = 0;
  for (const auto& [token, count] : query_.of_token) {
    const double known = static_cast<double>(reference_.count(token)) + 1;
    sum += static_cast<double>(count) / (known * known);
  }
  return sum;
}

double TokenTally::r2(const Latent& latent) const {
  if (reference_.rows == 0 || query_.rows == 0) return std::numeric_limits<double>::quiet_NaN();
  double reference = 0, query = 0;
  for (const Entry& one : latent.entries) {
    reference += one.reference;
    query += one.query;
  }
  const double mu = reference / static_cast<double>(reference_.rows);
  const auto rows = static_cast<double>(query_.rows);
  const double total = latent.query_square - query * query / rows;
  if (!(total > 0)) return std::numeric_limits<double>::quiet_NaN();
  // sum (a - m)^2 = sum a^2 - 2 sum_v m_v (sum of a with v) + sum_v m_v^2 n_v, where tokens that
  // the latent is silent on have m_v = mu / (their number + 1).
  double error = latent.query_square + mu * mu * silent_square_;
  for (const Entry& one : latent.entries) {
    const double known = static_cast<double>(reference_.count(one.token)) + 1;
    const auto asked = static_cast<double>(query_.count(one.token));
    const double m = (one.reference + mu) / known;
    error += m * m * asked - 2 * m * one.query - mu * mu * asked / (known * known);
  }
  return std::max(0.0, 1 - error / total);
}

void TokenTally::finish(std::span<LatentScores> scores) {
  silent_square_ = silent_square();
  for (std::size_t i = 0; i < latents_.size(); ++i) {
    Latent& own = latents_[i];
    merge(own);
    double firings = 0, most = 0, bits = 0;
    for (const Entry& one : own.entries) {
      firings += one.firings;
      most = std::max(most, static_cast<double>(one.firings));
    }
    if (firings == 0) continue;
    for (const Entry& one : own.entries) {
      const double share = one.firings / firings;
      bits -= share * std::log2(share);
    }
    scores[i][InterpMetric::kTokenR2] = r2(own);
    scores[i][InterpMetric::kEffectiveTokens] = std::exp2(bits);
    scores[i][InterpMetric::kTopToken] = most / firings;
  }
}

}  // namespace sae
