#include "sae/distributed/spread.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <algorithm>
#include <string>
#include <utility>

#include "distributed/dealt.h"
#include "sae/base/error.h"

namespace sae {
namespace {

/// Forward the sum over ranks, backward nothing: the loss is the same on all of them.
class SumOverRanks : public torch::autograd::Function<SumOverRanks> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* /*ctx*/, const at::Tensor& part,
                            const Group* group) {
    at::Tensor sum = part.detach().clone(at::MemoryFormat::Contiguous);
    group->sum(sum);
    return sum;
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* /*ctx*/,
                                               torch::autograd::tensor_list grads) {
    return {grads[0], {}};
  }
};

std::vector<Rows> ranges_of(const std::vector<std::int64_t>& cuts, std::int64_t d_sae,
                            std::int64_t rank, std::int64_t size) {
  std::vector<Rows> ranges;
  std::int64_t begin = 0;
  const auto deal_out = [&](std::int64_t end) {
    const Rows part = rows_of(end - begin, rank, size);
    const Rows range{begin + part.begin, begin + part.end};
    begin = end;
    if (range.size() == 0) return;
    if (!ranges.empty() && ranges.back().end == range.begin) {
      ranges.back().end = range.end;
    } else {
      ranges.push_back(range);
    }
  };
  for (const std::int64_t cut : cuts) deal_out(std::min(cut, d_sae));
  deal_out(d_sae);
  return ranges;
}

at::Tensor ids_of(const std::vector<Rows>& ranges) {
  std::vector<at::Tensor> ids;
  for (const Rows& range : ranges) ids.push_back(at::arange(range.begin, range.end, at::kLong));
  return ids.empty() ? at::empty({0}, at::kLong) : at::cat(ids);
}

std::int64_t reduced(const Group& group, std::int64_t own,
                     void (Group::*how)(at::Tensor& x) const) {
  if (group.is_one()) return own;
  at::Tensor x = at::tensor({own}, at::kLong);
  (group.*how)(x);
  return x.item<std::int64_t>();
}

}  // namespace

Spread::Spread(Placement placement, std::int64_t d_sae)
    : placement_(std::move(placement)), d_sae_(d_sae) {
  const Group& latents = mesh().latents;
  const std::int64_t ranks = std::int64_t{latents.size()} * mesh().data.size();
  if (d_sae < ranks) {
    throw ConfigError("distributed: got " + std::to_string(ranks) +
                      " ranks, expected at most one for each of model.d_sae = " +
                      std::to_string(d_sae) + " latents");
  }
  std::vector<at::Tensor> all;
  for (int rank = 0; rank < latents.size(); ++rank) {
    std::vector<Rows> ranges = ranges_of(placement_.cuts, d_sae, rank, latents.size());
    all.push_back(ids_of(ranges));
    most_ = std::max(most_, all.back().size(0));
    if (rank == latents.rank()) ranges_ = std::move(ranges);
  }
  ids_ = all[static_cast<std::size_t>(latents.rank())];
  own_ = ids_.size(0);
  places_ = at::empty({d_sae}, at::kLong);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    const std::int64_t first = static_cast<std::int64_t>(rank) * most_;
    places_.index_copy_(0, all[rank], at::arange(first, first + all[rank].size(0), at::kLong));
  }
}

std::vector<std::int64_t> Spread::own_below(const std::vector<std::int64_t>& widths) const {
  if (!splits_latents()) return widths;
  std::vector<std::int64_t> own;
  for (const std::int64_t width : widths) {
    std::int64_t below = 0;
    for (const Rows& range : ranges_) {
      below += std::clamp<std::int64_t>(width - range.begin, 0, range.size());
    }
    own.push_back(below);
  }
  return own;
}

at::Tensor Spread::sum_latents(const at::Tensor& part) const {
  return splits_latents() ? SumOverRanks::apply(part, &mesh().latents) : part;
}

std::int64_t Spread::count_latents(std::int64_t own) const {
  return reduced(mesh().latents, own, &Group::sum);
}

std::int64_t Spread::most_of_latents(std::int64_t own) const {
  return reduced(mesh().latents, own, &Group::max);
}

at::Tensor Spread::all_latents(const at::Tensor& own) const {
  if (!splits_latents()) return own;
  const at::Tensor all = mesh().latents.gather(padded(own.detach(), most_)).flatten(0, 1);
  return all.index_select(0, places_.to(all.device()));
}

at::Tensor Spread::own_latents(const at::Tensor& all) const {
  return splits_latents() ? all.index_select(0, ids_.to(all.device())) : all;
}

Spread::Tokens Spread::tokens(std::int64_t own) const {
  if (!splits_tokens()) return {0, own};
  const at::Tensor sizes = mesh().data.gather(at::tensor({own}, at::kLong)).flatten();
  return {sizes.slice(0, 0, mesh().data.rank()).sum().item<std::int64_t>(),
          sizes.sum().item<std::int64_t>()};
}

void Spread::sum_tokens(const std::vector<at::Tensor*>& parts) const {
  if (!splits_tokens() || parts.empty()) return;
  std::vector<at::Tensor> flat;
  for (const at::Tensor* part : parts) flat.push_back(part->detach().to(at::kDouble).flatten());
  at::Tensor all = at::cat(flat);
  mesh().data.sum(all);
  std::int64_t begin = 0;
  for (at::Tensor* part : parts) {
    const std::int64_t end = begin + part->numel();
    *part = all.slice(0, begin, end).view(part->sizes()).to(part->scalar_type());
    begin = end;
  }
}

at::Tensor Spread::all_tokens(const at::Tensor& own) const {
  if (!splits_tokens()) return own;
  const Group& data = mesh().data;
  const at::Tensor sizes = data.gather(at::tensor({own.size(0)}, at::kLong)).flatten();
  const at::Tensor all = data.gather(padded(own.detach(), sizes.max().item<std::int64_t>()));
  std::vector<at::Tensor> parts;
  for (int rank = 0; rank < data.size(); ++rank) {
    parts.push_back(all[rank].slice(0, 0, sizes[rank].item<std::int64_t>()));
  }
  return at::cat(parts);
}

at::Tensor Spread::least(const at::Tensor& own) const {
  if (is_one()) return own;
  at::Tensor least = own.detach().clone();
  mesh().world.min(least);
  return least;
}

}  // namespace sae
