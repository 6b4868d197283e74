#include "data/shared_source.h"

#include <torch/types.h>

#include <algorithm>
#include <vector>

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
  const std::int64_t begin = position_ + part.begin + own.begin;
  position_ += count;
  if (latents.is_one()) {
    source_.seek(begin);
    return source_.next(own.size());
  }
  // Whoever has none this time reads one for its type.
  const std::int64_t most = (part.size() + latents.size() - 1) / latents.size();
  source_.seek(begin);
  at::Tensor x = source_.next(std::max<std::int64_t>(1, own.size()));
  at::Tensor padded = at::zeros({most, x.size(1)}, x.options().pinned_memory(false));
  padded.slice(0, 0, own.size()).copy_(x.slice(0, 0, own.size()));
  const at::Tensor all =
      latents.gather(padded.view(at::kByte)).view(x.scalar_type());  // [R_l, most, D]
  std::vector<at::Tensor> parts;
  for (int rank = 0; rank < latents.size(); ++rank) {
    parts.push_back(all[rank].slice(0, 0, rows_of(part.size(), rank, latents.size()).size()));
  }
  return at::cat(parts);
}

}  // namespace sae
