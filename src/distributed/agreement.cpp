#include "distributed/agreement.h"

#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "sae/base/interrupt.h"

namespace sae {
namespace {

at::Tensor bytes_of(const std::string& text, std::int64_t size) {
  at::Tensor bytes = at::zeros({size}, at::kByte);
  std::memcpy(bytes.mutable_data_ptr(), text.data(), text.size());
  return bytes;
}

std::string text_of(const at::Tensor& bytes, std::int64_t size) {
  return {static_cast<const char*>(bytes.const_data_ptr()), static_cast<std::size_t>(size)};
}

}  // namespace

bool on_any(const Group& group, bool here) {
  if (group.is_one()) return here;
  at::Tensor flag = at::tensor({here ? 1 : 0}, at::kInt);
  group.max(flag);
  return flag.item<int>() == 1;
}

bool told(const Group& group, bool value) {
  if (group.is_one()) return value;
  at::Tensor flag = at::tensor({value ? 1 : 0}, at::kInt);
  group.broadcast(flag);
  return flag.item<int>() == 1;
}

std::string told(const Group& group, const std::string& text) {
  if (group.is_one()) return text;
  at::Tensor size = at::tensor({static_cast<std::int64_t>(text.size())}, at::kLong);
  group.broadcast(size);
  const auto length = size.item<std::int64_t>();
  if (length == 0) return "";
  at::Tensor bytes = group.rank() == 0 ? bytes_of(text, length) : at::zeros({length}, at::kByte);
  group.broadcast(bytes);
  return text_of(bytes, length);
}

std::vector<std::string> told_by_all(const Group& group, const std::string& text) {
  if (group.is_one()) return {text};
  const at::Tensor sizes =
      group.gather(at::tensor({static_cast<std::int64_t>(text.size())}, at::kLong)).flatten();
  const std::int64_t most = std::max<std::int64_t>(1, sizes.max().item<std::int64_t>());
  const at::Tensor all = group.gather(bytes_of(text, most));
  std::vector<std::string> texts;
  for (int rank = 0; rank < group.size(); ++rank) {
    texts.push_back(text_of(all[rank], sizes[rank].item<std::int64_t>()));
  }
  return texts;
}

void check_interrupt(const Group& group) {
  if (group.is_one()) {
    check_interrupt();
  } else if (on_any(group, interrupt_requested())) {
    throw Interrupted();
  }
}

}  // namespace sae
