#include "distributed/dealt.h"

#include <torch/types.h>

#include <vector>

#include "sae/distributed/rows.h"

namespace sae {
namespace {

/// Of any rank.
std::int64_t most_rows(const Group& group, std::int64_t count) {
  return (count + group.size() - 1) / group.size();
}

}  // namespace

at::Tensor padded(const at::Tensor& x, std::int64_t most) {
  if (x.size(0) == most) return x;
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape[0] = most;
  at::Tensor out = at::zeros(shape, x.options().requires_grad(false).pinned_memory(false));
  out.slice(0, 0, x.size(0)).copy_(x);
  return out;
}

at::Tensor own_rows_of_sum(const Group& group, const at::Tensor& x) {
  std::vector<at::Tensor> parts;
  for (int rank = 0; rank < group.size(); ++rank) {
    const Rows rows = rows_of(x.size(0), rank, group.size());
    parts.push_back(padded(x.slice(0, rows.begin, rows.end), most_rows(group, x.size(0))));
  }
  const Rows own = rows_of(x.size(0), group.rank(), group.size());
  return group.sum_of_parts(at::stack(parts)).slice(0, 0, own.size());
}

at::Tensor all_rows(const Group& group, const at::Tensor& own, std::int64_t count) {
  const at::Tensor all = group.gather(padded(own, most_rows(group, count)));  // [R, most, ...]
  std::vector<at::Tensor> parts;
  for (int rank = 0; rank < group.size(); ++rank) {
    parts.push_back(all[rank].slice(0, 0, rows_of(count, rank, group.size()).size()));
  }
  return at::cat(parts);
}

}  // namespace sae
