#include "sae/base/interrupt.h"

#include <atomic>

namespace sae {
namespace {

std::atomic<bool> requested = false;
std::atomic<int> unsaved = 0;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

}  // namespace

void request_interrupt() noexcept { requested.store(true, std::memory_order_relaxed); }
void withdraw_interrupt() noexcept { requested.store(false, std::memory_order_relaxed); }
bool interrupt_requested() noexcept { return requested.load(std::memory_order_relaxed); }

void check_interrupt() {
  if (interrupt_requested()) throw Interrupted();
}

UnsavedWork::UnsavedWork() noexcept { ++unsaved; }
UnsavedWork::~UnsavedWork() { --unsaved; }

bool has_unsaved_work() noexcept { return unsaved > 0; }

}  // namespace sae
