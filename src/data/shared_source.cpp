#include "data/shared_source.h"

#include <torch/types.h>

#include <algorithm>

#include "distributed/dealt.h"
#include "sae/distributed/rows.h"

namespace sae {

void SharedSource::set_form(const BatchForm& form) {
  BatchForm spread = form;
  spread.stride = batch_;
  source_.set_form(spread);
}

at::Tensor SharedSource::next(std::int64_t count) {
  const Group& latents = mesh_.latents;
  const Rows part = rows_of(count, mesh_.data.rank(), mesh_.data.size());
  const Rows own = rows_of(part.size(), latents.rank(), latents.size());
  source_.seek(position_ + part.begin + own.begin);
  position_ += count;
  // Whoever has none this time reads one for its type.
  const at::Tensor x = source_.next(std::max<std::int64_t>(1, own.size())).slice(0, 0, own.size());
  if (latents.is_one()) return x;
  // As bytes, whatever type that is.
  return all_rows(latents, x.view(at::kByte), part.size()).view(x.scalar_type());
}

}  // namespace sae
