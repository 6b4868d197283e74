// What absorption looks at in an autoencoder.
#include <torch/types.h>

#include "evaluation/encode_all.h"
#include "sae/base/error.h"
#include "sae/evaluation/absorption.h"
#include "sae/evaluation/ranking.h"
#include "sae/metrics/catalogue.h"
#include "sae/metrics/reconstruction.h"
#include "sparse/row_norms.h"

namespace sae {

AbsorptionSubject encode_words(const Autoencoder& sae, const LabelledActivations& data,
                               std::int64_t batch) {
  const at::NoGradGuard no_grad;
  check_width(data, sae.d_in());
  if (data.train.offsets.defined() || data.test.offsets.defined()) {
    throw DataError(
        data.place +
        ": holds texts of several tokens, which absorption does not score; expected one "
        "row a word");
  }
  AbsorptionSubject subject;
  subject.W_dec = sae.W_dec.detach().to(at::kCPU, at::kFloat);
  ReconstructionMetrics metrics(sae.d_sae());
  const auto encode = [&](const at::Tensor& x, const auto& visit) {
    return with_unit_decoder(encode_all(sae, x, batch, visit), subject.W_dec);
  };
  subject.train = encode(data.train.x, nullptr);
  subject.test = encode(data.test.x, [&](const at::Tensor& x, const Codes& codes) {
    metrics.add(x, sae.decode(codes), codes);
  });
  subject.train_words = count_samples(data.train);
  subject.test_words = count_samples(data.test);
  subject.score = data.score_x.defined() ? encode(data.score_x, nullptr) : subject.test;
  subject.l0 = mean_l0(subject.test);
  const MetricValues values = metrics.values();
  subject.explained_variance = values.at(metric::kExplainedVariance);
  for (const std::string& why :
       {why_degenerate(subject.train, "training words"), why_degenerate(subject.test, "test words"),
        why_degenerate(values, sae.d_sae()), why_degenerate(subject.test, subject.W_dec)}) {
    if (subject.degenerate.empty()) subject.degenerate = why;
  }
  return subject;
}

}  // namespace sae
