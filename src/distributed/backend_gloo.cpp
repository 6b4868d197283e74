#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "distributed/backend.h"

namespace sae {
namespace {

/// The address of this machine as the host of rank 0 sees it: that of a socket towards it. (Gloo's
/// own choice resolves the machine's name, which is 127.0.1.1 on many.) Empty if there is none.
std::string address_towards(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return "";
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> list(found, &freeaddrinfo);
  std::string address;
  for (const addrinfo* one = found; one != nullptr && address.empty(); one = one->ai_next) {
    const int descriptor = socket(one->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) continue;
    sockaddr_storage own{};
    socklen_t size = sizeof(own);
    std::array<char, NI_MAXHOST> text{};
    if (connect(descriptor, one->ai_addr, one->ai_addrlen) == 0 &&
        getsockname(descriptor, reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
        getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text.data(), text.size(), nullptr, 0,
                    NI_NUMERICHOST) == 0) {
      address = text.data();
    }
    close(descriptor);
  }
  return address;
}

std::shared_ptr<::gloo::transport::Device> device_for(const Membership& member) {
  using c10d::ProcessGroupGloo;
  if (const char* interface = std::getenv("GLOO_SOCKET_IFNAME")) {
    return ProcessGroupGloo::createDeviceForInterface(interface);
  }
  const std::string address = address_towards(member.address, member.port);
  return address.empty() ? ProcessGroupGloo::createDefaultDevice()
                         : ProcessGroupGloo::createDeviceForHostname(address);
}

/// Whether a backend's timeout can be changed once it is connected: LibTorch 2.7's cannot.
template <class Backend>
constexpr bool kTimeoutChanges = requires(Backend& backend, std::chrono::milliseconds timeout) {
  backend.setTimeout(timeout);
};

/// Gloo waits five times its timeout for one that does not answer when ranks connect.
std::chrono::milliseconds connecting(std::chrono::milliseconds timeout) {
  using namespace std::chrono_literals;
  return std::max(timeout / 5, std::min<std::chrono::milliseconds>(timeout, 2s));
}

template <class Backend>
void connect_within(c10::intrusive_ptr<Backend>& connected,
                    const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                    const Membership& member) {
  const auto options = c10d::ProcessGroupGloo::Options::create(
      kTimeoutChanges<Backend> ? connecting(member.timeout) : member.timeout);
  options->devices.push_back(device_for(member));
  connected = c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, options);
  if constexpr (kTimeoutChanges<Backend>) connected->setTimeout(member.timeout);
}

}  // namespace

c10::intrusive_ptr<c10d::Backend> connect_gloo(const c10::intrusive_ptr<c10d::Store>& store,
                                               int rank, int size, const Membership& member) {
  c10::intrusive_ptr<c10d::Backend> connected;
  connect_within(connected, store, rank, size, member);
  return connected;
}

}  // namespace sae
