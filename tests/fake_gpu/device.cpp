// Memory, streams and the hooks that make LibTorch believe in a CUDA device.
#include "device.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <set>

#include "counts.h"

namespace fake_gpu {
namespace {

Counts counted;
std::int64_t in_use = 0;
std::map<char*, std::size_t> blocks;  // size of each, whole pages, by its first address
std::set<const void*> pinned;
int unlocked_all = 0;
thread_local bool inside = false;

std::size_t whole_pages(std::size_t size) {
  constexpr std::size_t kPage = 4096;
  return (std::max<std::size_t>(size, 1) + kPage - 1) / kPage * kPage;
}

void release(void* at) {
  const std::lock_guard lock(device_mutex());
  const auto found = blocks.find(static_cast<char*>(at));
  if (found == blocks.end()) return;
  munmap(found->first, found->second);
  in_use -= static_cast<std::int64_t>(found->second);
  blocks.erase(found);
}

void protect(char* at, std::size_t size, bool accessible) {
  mprotect(at, size, accessible ? PROT_READ | PROT_WRITE : PROT_NONE);
}

class DeviceMemory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t size) override {
    const at::Device device(kType, 0);
    if (size == 0) return {nullptr, nullptr, &release, device};
    const std::lock_guard lock(device_mutex());
    const std::size_t pages = whole_pages(size);
    void* made = mmap(nullptr, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK(made != MAP_FAILED, "fake GPU: out of memory");
    auto* at = static_cast<char*>(made);
    std::memset(at, 0xFF, size);  // NaN: what nobody wrote must not pass for zeros
    protect(at, pages, unlocked_all > 0);
    blocks[at] = pages;
    in_use += static_cast<std::int64_t>(pages);
    counted.peak = std::max(counted.peak, in_use);
    ++counted.blocks[static_cast<std::int64_t>(size)];
    return {at, at, &release, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void*, const void*, std::size_t) const override {
    TORCH_CHECK(false, "fake GPU: copy_data");
  }
};

void release_pinned(void* at) {
  const std::lock_guard lock(device_mutex());
  pinned.erase(at);
  std::free(at);
}

class PinnedMemory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t size) override {
    void* at = std::aligned_alloc(64, (std::max<std::size_t>(size, 1) + 63) / 64 * 64);
    const std::lock_guard lock(device_mutex());
    pinned.insert(at);
    return {at, at, &release_pinned, at::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release_pinned; }
  void copy_data(void* to, const void* from, std::size_t size) const override {
    std::memcpy(to, from, size);
  }
};

/// Streams keep order by themselves here: every operator has ended when it returns.
class Guard final : public c10::impl::DeviceGuardImplInterface {
 public:
  at::DeviceType type() const override { return kType; }
  at::Device exchangeDevice(at::Device) const override { return {kType, 0}; }
  at::Device getDevice() const override { return {kType, 0}; }
  void setDevice(at::Device) const override {}
  void uncheckedSetDevice(at::Device) const noexcept override {}
  c10::Stream getStream(at::Device) const override {
    return c10::Stream(c10::Stream::DEFAULT, at::Device(kType, 0));
  }
  c10::Stream getDefaultStream(at::Device device) const override { return getStream(device); }
  c10::Stream getStreamFromGlobalPool(at::Device device, bool) const override {
    return getStream(device);
  }
  c10::Stream exchangeStream(c10::Stream) const override { return getStream({kType, 0}); }
  void* getStreamNativeHandle(const c10::Stream) const override { return nullptr; }
  at::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, at::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override { count_wait("synchronize"); }
  void synchronizeDevice(at::DeviceIndex) const override { count_wait("synchronize"); }
  void synchronizeEvent(void*) const override { count_wait("synchronize"); }
  void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {}
  double elapsedTime(void*, void*, at::DeviceIndex) const override { return 1; }
};

class Hooks final : public at::CUDAHooksInterface {
 public:
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(at::DeviceIndex) const override { return true; }
  at::DeviceIndex deviceCount() const override { return 1; }
  at::DeviceIndex getCurrentDevice() const override { return 0; }
  bool isPinnedPtr(const void* at) const override { return is_pinned(at); }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &pinned_memory(); }
  const at::Generator& getDefaultGenerator(at::DeviceIndex) const override {
    return at::detail::getDefaultCPUGenerator();
  }
};

/// Before main: no tensor on the device can be older.
const bool installed = [] {
  at::CUDAHooksRegistry()->Register(
      "CUDAHooks", [](at::CUDAHooksArgs arguments) -> std::unique_ptr<at::CUDAHooksInterface> {
        return std::make_unique<Hooks>(arguments);
      });
  static const c10::impl::DeviceGuardImplRegistrar registrar(kType, new Guard);
  c10::SetAllocator(kType, &device_memory());
  return true;
}();

}  // namespace

std::recursive_mutex& device_mutex() {
  static auto* mutex = new std::recursive_mutex;  // tensors in statics outlive this library's
  return *mutex;
}

c10::Allocator& device_memory() {
  static DeviceMemory memory;
  return memory;
}

c10::Allocator& pinned_memory() {
  static PinnedMemory memory;
  return memory;
}

bool is_pinned(const void* at) {
  const std::lock_guard lock(device_mutex());
  return pinned.contains(at);
}

std::int64_t bytes_at(const void* at) {
  const std::lock_guard lock(device_mutex());
  const char* address = static_cast<const char*>(at);
  const auto after = blocks.upper_bound(const_cast<char*>(address));
  if (!at || after == blocks.begin()) return 0;
  const auto& [begin, size] = *std::prev(after);
  const std::int64_t left = static_cast<std::int64_t>(size) - (address - begin);
  return std::max<std::int64_t>(left, 0);
}

Unlocked::Unlocked(const at::Tensor& t) : lock_(device_mutex()) {
  if (t.device().type() != kType || !t.storage().data()) return;
  at_ = static_cast<char*>(t.storage().mutable_data());
  protect(at_, blocks.at(at_), true);
}

Unlocked::Unlocked() : lock_(device_mutex()), all_(true) {
  if (unlocked_all++ > 0) return;
  for (const auto& [at, size] : blocks) protect(at, size, true);
}

Unlocked::~Unlocked() {
  if (at_ && unlocked_all == 0) protect(at_, blocks.at(at_), false);
  if (!all_ || --unlocked_all > 0) return;
  for (const auto& [at, size] : blocks) protect(at, size, false);
}

Inside::Inside() : before_(inside) { inside = true; }
Inside::~Inside() { inside = before_; }
bool is_inside() { return inside; }

void count_wait(const std::string& cause) {
  if (inside) return;
  const std::lock_guard lock(device_mutex());
  ++counted.waits[cause];
}

void count_operator(const std::string& name, std::int64_t bytes) {
  if (inside) return;
  const std::lock_guard lock(device_mutex());
  ++counted.operators[name];
  counted.bytes_of[name] += bytes;
  counted.bytes += bytes;
}

extern "C" void fake_gpu_counts(Counts* counts) {
  const std::lock_guard lock(device_mutex());
  *counts = counted;
}

extern "C" void fake_gpu_reset() {
  const std::lock_guard lock(device_mutex());
  counted = {};
  counted.peak = in_use;
}

}  // namespace fake_gpu
