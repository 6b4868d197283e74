// Stopping a long computation from outside of it: whoever wants it stopped asks, loops listen.
//
//     std::signal(SIGINT, [](int) { sae::request_interrupt(); });
//     for (...) { sae::check_interrupt(); ... }   // throws Interrupted: destructors clean up
//
// The request is the whole process's, so that it reaches every thread. Whatever takes long here
// listens between batches, epochs or shards. Training is not torn apart: sae::train and
// sae::compare end the step they are in, save, and say so in what they return. Nothing here needs
// LibTorch.
#pragma once

namespace sae {

/// Thrown by check_interrupt. No std::exception, so that nothing that answers to errors swallows
/// it.
struct Interrupted {};

void request_interrupt() noexcept;    ///< safe in a signal handler
void withdraw_interrupt() noexcept;   ///< for programs that go on with something else
bool interrupt_requested() noexcept;  ///< costs one relaxed load

/// Throws Interrupted if a stop was asked for.
void check_interrupt();

/// Lives while memory holds work that its owner saves when it is interrupted. A process that has
/// none may be ended at any moment and loses nothing but the command it was given.
class UnsavedWork {
 public:
  UnsavedWork() noexcept;
  ~UnsavedWork();
  UnsavedWork(const UnsavedWork&) = delete;
  UnsavedWork& operator=(const UnsavedWork&) = delete;
};

bool has_unsaved_work() noexcept;

}  // namespace sae
