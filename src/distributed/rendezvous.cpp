#include "distributed/rendezvous.h"

#include <c10/util/Logging.h>
#include <netdb.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <future>
#include <memory>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>
#include <vector>

#include "distributed/backend.h"
#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sae/base/text.h"

namespace sae {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

constexpr Milliseconds kPoll = 20ms;
constexpr Milliseconds kTrying = 1000ms;    // to reach rank 0, again and again until the timeout
constexpr Milliseconds kNoticing = 1000ms;  // within which those that live see that one does not
constexpr Milliseconds kAsking = 3000ms;    // for a store that may itself be gone

std::vector<std::uint8_t> bytes(const std::string& text) { return {text.begin(), text.end()}; }

std::string key(const std::string& name, int rank) { return name + "/" + std::to_string(rank); }

std::string place_of(const Membership& member) {
  return member.address + ":" + std::to_string(member.port);
}

std::string seconds(Milliseconds time) {
  return shortest(static_cast<double>(time.count()) / 1000) + " s";
}

/// What goes wrong is said in errors, in one line: c10d's warnings of the same come with traces.
void silence_warnings() {
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) {
    FLAGS_caffe2_log_level = std::max(FLAGS_caffe2_log_level, int{c10::GLOG_FATAL});
  }
}

std::string listed(const std::vector<int>& ranks) {
  std::vector<std::string> names;
  for (const int rank : ranks) names.push_back(std::to_string(rank));
  return (ranks.size() == 1 ? "rank " : "ranks ") + joined(names);
}

void require_known(const Membership& member) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int status = getaddrinfo(member.address.c_str(), nullptr, &hints, &found);
  if (status != 0) {
    throw ConfigError("MASTER_ADDR: got '" + member.address +
                      "', which is no host that is known (" + gai_strerror(status) +
                      "); expected the host of rank 0");
  }
  freeaddrinfo(found);
}

c10::intrusive_ptr<c10d::Store> open_store(const Membership& member) {
  c10d::TCPStoreOptions options;
  options.port = member.port;
  options.isServer = member.rank == 0 && !member.agent_serves;
  options.waitWorkers = false;
  // A client's constructor tries for several times the timeout that it is given.
  options.timeout = options.isServer ? member.timeout : std::min(member.timeout, kTrying);
  const auto end = Clock::now() + member.timeout;
  while (true) {
    check_interrupt();
    try {
      auto store = c10::make_intrusive<c10d::TCPStore>(member.address, options);
      store->setTimeout(member.timeout);
      // torchrun's restarts meet at one and the same store.
      return c10::make_intrusive<c10d::PrefixStore>("sae/" + member.generation, std::move(store));
    } catch (const std::exception& error) {
      const std::string what = error.what();
      if (options.isServer && what.find("EADDRINUSE") != std::string::npos) {
        throw ConfigError("MASTER_PORT: got " + std::to_string(member.port) +
                          ", which another process uses; choose another");
      }
      if (options.isServer || Clock::now() >= end) {
        throw DistributedError("rank " + std::to_string(member.rank) + " of " +
                               std::to_string(member.size) + ": rank 0 is not at " +
                               place_of(member) + " after " + seconds(member.timeout) + ": " +
                               first_line(error));
      }
    }
  }
}

}  // namespace

std::string first_line(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

Rendezvous::Rendezvous(const Membership& member) : member_(member) {
  silence_warnings();
  require_known(member_);
  store_ = open_store(member_);
  wait_for_all();
}

bool Rendezvous::has(const std::string& name, int rank) { return store_->check({key(name, rank)}); }

void Rendezvous::tell(const std::string& name) { store_->set(key(name, member_.rank), bytes("1")); }

void Rendezvous::wait_for_all() {
  std::vector<int> missing;
  const auto end = Clock::now() + member_.timeout;
  try {
    tell("here");
    do {
      check_interrupt();
      missing.clear();
      for (int rank = 0; rank < member_.size; ++rank) {
        if (!has("here", rank)) missing.push_back(rank);
      }
      if (missing.empty()) return;
      std::this_thread::sleep_for(kPoll);
    } while (Clock::now() < end);
  } catch (const std::exception&) {
    throw DistributedError("rank 0 left while ranks were coming to " + place_of(member_) +
                           (missing.empty() ? "" : "; " + listed(missing) + " had not come"));
  }
  leave(kNoticing);  // the others' time ends now, too: they shall see who is missing
  const auto size = static_cast<std::size_t>(member_.size);
  throw DistributedError(std::to_string(size - missing.size()) + " of " + std::to_string(size) +
                         " ranks came to " + place_of(member_) + " within " +
                         seconds(member_.timeout) + "; " + listed(missing) +
                         (missing.size() == 1 ? " is" : " are") + " missing");
}

void Rendezvous::tell_failure(const std::string& message) noexcept {
  try {
    store_->compareSet("failure", {},
                       bytes("rank " + std::to_string(member_.rank) + ": " + message));
  } catch (...) {  // the store is gone: nobody is left to be told
  }
  connections_.clear();  // so that ranks which wait for this one look what it says
}

std::string Rendezvous::find_culprit(const std::string& what) {
  tell("noticed");
  std::vector<int> silent;
  const auto end = Clock::now() + kNoticing;
  do {
    if (store_->check({"failure"})) {
      const std::vector<std::uint8_t> text = store_->get("failure");
      return {text.begin(), text.end()};
    }
    silent.clear();
    for (int rank = 0; rank < member_.size; ++rank) {
      if (!has("noticed", rank)) silent.push_back(rank);
    }
    std::this_thread::sleep_for(kPoll);
  } while (Clock::now() < end);
  if (silent.empty()) return "the ranks lost each other: " + what;
  const bool late = what.find("imed out") != std::string::npos;
  return listed(silent) + (late ? " did not answer for " + seconds(member_.timeout) : " vanished");
}

void Rendezvous::blame(const std::string& what) noexcept {
  connections_.clear();
  // On a thread of its own: where the store's rank hangs, so does whoever asks it.
  broken_ = "rank 0, which serves the store, does not answer: " + what;
  try {
    const auto answer = std::make_shared<std::promise<std::string>>();
    std::future<std::string> found = answer->get_future();
    // It may hang for longer than anybody else has a use for the store.
    std::thread([self = shared_from_this(), what, answer] {
      try {
        answer->set_value(self->find_culprit(what));
      } catch (...) {
        answer->set_value("rank 0 vanished");
      }
    }).detach();
    if (found.wait_for(kAsking) == std::future_status::ready) broken_ = found.get();
  } catch (...) {  // no thread is to be had
  }
}

c10d::Backend& Rendezvous::connect(const c10::intrusive_ptr<c10d::Store>& part, int rank,
                                   int size) {
  try {
    return *connections_.emplace_back(connect_gloo(part, rank, size, member_));
  } catch (const std::exception& error) {
    blame(first_line(error));
    throw DistributedError(broken_);
  }
}

c10d::Backend& Rendezvous::connect_gpus(const c10::intrusive_ptr<c10d::Store>& part, int rank,
                                        int size) {
  return *connections_.emplace_back(
      connect_nccl(c10::make_intrusive<c10d::PrefixStore>("gpus", part), rank, size, member_));
}

void Rendezvous::leave(Milliseconds patience) noexcept {
  try {
    tell("left");
    if (!serves()) return;
    for (const auto end = Clock::now() + patience; Clock::now() < end;) {
      bool all = true;
      for (int rank = 0; rank < member_.size; ++rank) all = all && has("left", rank);
      if (all) return;
      std::this_thread::sleep_for(kPoll);
    }
  } catch (...) {  // the store is gone
  }
}

}  // namespace sae
