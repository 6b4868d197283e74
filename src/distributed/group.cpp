#include "sae/distributed/group.h"

#include <torch/types.h>

#include <chrono>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <utility>
#include <vector>

#include "distributed/backend.h"
#include "distributed/rendezvous.h"
#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sae/base/version.h"

namespace sae {

/// A group of several ranks: how it sends, and whom to ask when that fails.
class GroupState {
 public:
  GroupState(std::shared_ptr<Rendezvous> meeting, c10::intrusive_ptr<c10d::Store> store, int rank,
             int size)
      : meeting(std::move(meeting)),
        store(std::move(store)),
        rank(rank),
        size(size),
        backend_(this->meeting->connect(this->store, rank, size)) {}

  /// A contiguous copy where it can be sent from, or the tensor itself if it is that.
  at::Tensor sendable(const at::Tensor& x) const {
    return (sends_from(x) ? x.detach() : x.detach().cpu()).contiguous();
  }

  /// One collective call with tensors like `x`, of which this rank sends `bytes`.
  template <class Call>
  void send(const at::Tensor& x, std::int64_t bytes, Call&& call) {
    if (!meeting->broken().empty()) throw DistributedError(meeting->broken());
    const auto began = std::chrono::steady_clock::now();
    try {
      call(backend_for(x))->wait();
    } catch (const std::exception& error) {
      meeting->blame(first_line(error));
      throw DistributedError(meeting->broken());
    }
    ++traffic.calls;
    traffic.bytes += bytes;
    traffic.seconds +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  }

  const std::shared_ptr<Rendezvous> meeting;
  const c10::intrusive_ptr<c10d::Store> store;
  const int rank, size;
  Traffic traffic;
  int splits = 0, agreements = 0;

 private:
  static bool sends_from(const at::Tensor& x) { return x.is_cpu() || (x.is_cuda() && has_nccl()); }

  c10d::Backend& backend_for(const at::Tensor& x) {
    if (x.is_cpu()) return backend_;
    if (!of_gpus_) of_gpus_ = &meeting->connect_gpus(store, rank, size);
    return *of_gpus_;
  }

  c10d::Backend& backend_;  // gone when something is broken
  c10d::Backend* of_gpus_ = nullptr;
};

namespace {

std::int64_t bytes_of(const at::Tensor& x) {
  return x.numel() * static_cast<std::int64_t>(x.element_size());
}

void put_back(at::Tensor& x, const at::Tensor& result) {
  if (!result.is_same(x) && result.data_ptr() != x.data_ptr()) x.detach().copy_(result);
}

void reduce(GroupState* state, at::Tensor& x, c10d::ReduceOp::RedOpType how) {
  if (state == nullptr) return;
  std::vector<at::Tensor> all{state->sendable(x)};
  c10d::AllreduceOptions options;
  options.reduceOp = how;
  const std::int64_t others = state->size - 1;
  state->send(all.front(), 2 * bytes_of(x) * others / state->size,
              [&](c10d::Backend& backend) { return backend.allreduce(all, options); });
  put_back(x, all.front());
}

std::string text_of(const Facts& facts) { return nlohmann::ordered_json(facts).dump(); }

Facts facts_of(const std::string& text) { return nlohmann::ordered_json::parse(text).get<Facts>(); }

/// "train.batch: rank 0 has 4096, rank 2 has 2048"
std::string first_difference(const Facts& first, const Facts& own, int rank) {
  const auto value = [](const Facts& facts, std::size_t i) {
    return i < facts.size() ? facts[i].second : std::string("nothing");
  };
  for (std::size_t i = 0; i < std::max(first.size(), own.size()); ++i) {
    if (i < first.size() && i < own.size() && first[i] == own[i]) continue;
    const std::string name = i < first.size() ? first[i].first : own[i].first;
    return name + ": rank 0 has " + value(first, i) + ", rank " + std::to_string(rank) + " has " +
           value(own, i) + "; expected the same on all ranks";
  }
  return "";
}

/// By the store, so that nothing of unlike size is ever sent. `about` is the agreement's own name.
void agree_by_store(c10d::Store& store, int rank, const std::string& about, const Facts& facts) {
  if (rank == 0) {
    const std::string text = text_of(facts);
    store.set(about, std::vector<std::uint8_t>(text.begin(), text.end()));
    return;
  }
  const std::vector<std::uint8_t> first = store.get(about);
  const std::string found = first_difference(facts_of({first.begin(), first.end()}), facts, rank);
  if (!found.empty()) throw ConfigError(found);
}

std::string what_happened() {
  try {
    throw;
  } catch (const Interrupted&) {
    return "it was interrupted";
  } catch (const std::exception& error) {
    return first_line(error);
  } catch (...) {
    return "it failed";
  }
}

}  // namespace

Group::Group(std::shared_ptr<GroupState> state) : state_(std::move(state)) {}

int Group::rank() const { return state_ ? state_->rank : 0; }
int Group::size() const { return state_ ? state_->size : 1; }
Traffic Group::traffic() const { return state_ ? state_->traffic : Traffic{}; }

void Group::sum(at::Tensor& x) const { reduce(state_.get(), x, c10d::ReduceOp::SUM); }
void Group::max(at::Tensor& x) const { reduce(state_.get(), x, c10d::ReduceOp::MAX); }
void Group::min(at::Tensor& x) const { reduce(state_.get(), x, c10d::ReduceOp::MIN); }

at::Tensor Group::gather(const at::Tensor& x) const {
  if (!state_) return x.unsqueeze(0);
  at::Tensor own = state_->sendable(x);
  std::vector<std::int64_t> shape = own.sizes().vec();
  shape.insert(shape.begin(), size());
  at::Tensor all = at::empty(shape, own.options());
  at::Tensor flat = all.view(-1), part = own.view(-1);
  state_->send(own, bytes_of(own) * (size() - 1),
               [&](c10d::Backend& backend) { return backend._allgather_base(flat, part); });
  return all.to(x.device());
}

at::Tensor Group::sum_of_parts(const at::Tensor& x) const {
  if (x.dim() == 0 || x.size(0) != size()) {
    throw std::invalid_argument("sum_of_parts: got shape " + c10::str(x.sizes()) +
                                ", expected one part for each of " + std::to_string(size()) +
                                " ranks");
  }
  if (!state_) return x.squeeze(0);
  at::Tensor all = state_->sendable(x);
  at::Tensor own = at::empty(all.sizes().slice(1), all.options());
  at::Tensor flat = all.view(-1), part = own.view(-1);
  state_->send(own, bytes_of(own) * (size() - 1),
               [&](c10d::Backend& backend) { return backend._reduce_scatter_base(part, flat); });
  return own.to(x.device());
}

void Group::broadcast(at::Tensor& x, int from) const {
  if (!state_) return;
  std::vector<at::Tensor> all{state_->sendable(x)};
  c10d::BroadcastOptions options;
  options.rootRank = from;
  state_->send(all.front(), rank() == from ? bytes_of(x) * (size() - 1) : 0,
               [&](c10d::Backend& backend) { return backend.broadcast(all, options); });
  put_back(x, all.front());
}

void Group::meet() const {
  if (!state_) return;
  state_->send(at::empty({0}), 0, [](c10d::Backend& backend) { return backend.barrier(); });
}

void Group::agree(const Facts& facts) const {
  if (!state_) return;
  agree_by_store(*state_->store, rank(), "facts" + std::to_string(state_->agreements++), facts);
  meet();  // nobody goes on before all have agreed
}

Group Group::split(int part) const {
  if (!state_) return {};
  const at::Tensor parts = gather(at::tensor({part}, at::kInt));
  int rank = 0, size = 0;
  for (int other = 0; other < this->size(); ++other) {
    if (parts[other].item<int>() != part) continue;
    if (other == this->rank()) rank = size;
    ++size;
  }
  const std::string name = "split" + std::to_string(state_->splits++) + "/" + std::to_string(part);
  if (size == 1) return {};
  return Group(std::make_shared<GroupState>(
      state_->meeting, c10::make_intrusive<c10d::PrefixStore>(name, state_->store), rank, size));
}

void together(const Membership& member, const std::function<void(const Group&)>& work) {
  if (member.size == 1) {
    work(Group());
    return;
  }
  using namespace std::chrono_literals;
  const auto meeting = std::make_shared<Rendezvous>(member);
  try {
    // Before anything is sent: what does not fit together may end the process in a foreign thread.
    agree_by_store(*meeting->store(), member.rank, "program",
                   {{"sae", kVersion},
                    {"LibTorch", kTorchVersion},
                    {"WORLD_SIZE", std::to_string(member.size)}});
    const Group group(
        std::make_shared<GroupState>(meeting, meeting->store(), member.rank, member.size));
    work(group);
    group.meet();  // whoever ends early looks dead
  } catch (const DistributedError&) {
    meeting->leave(2s);
    throw;
  } catch (...) {
    meeting->tell_failure(what_happened());
    meeting->leave(2s);
    throw;
  }
  meeting->leave(5s);
}

Mesh mesh_of(const Group& world, std::int64_t latents, std::int64_t data) {
  const std::int64_t rows = data > 0 ? data : 1;
  const std::int64_t row = latents > 0 ? latents : world.size() / rows;
  if (row * rows != world.size()) {
    throw ConfigError("distributed: got latents " + std::to_string(latents) + " and data " +
                      std::to_string(data) + ", expected " + std::to_string(world.size()) +
                      " ranks in all (WORLD_SIZE)");
  }
  const auto neighbours = static_cast<int>(row);
  return {world, world.split(world.rank() % neighbours), world.split(world.rank() / neighbours)};
}

}  // namespace sae
