#include "stop.h"

#include <semaphore.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <mutex>
#include <thread>

#include "exit_status.h"
#include "output.h"
#include "sae/base/files.h"
#include "sae/base/interrupt.h"

namespace sae_cli {
namespace {

constexpr long kPatience = 700;  // ms until a command that does not hear is ended

std::atomic<int> first_signal = 0;
std::atomic<bool> reported = false;
sem_t signals;      // one count a signal; sem_post is safe in a handler
std::mutex ending;  // taken when the process is being ended, and never given back
std::mutex way_on_mutex;
std::string way_on;

extern "C" void on_signal(int signal) {
  const int error = errno;
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
  sae::request_interrupt();
  ::sem_post(&signals);
  errno = error;
}

/// False if no signal came in time.
bool wait_for_signal(long milliseconds) {
  timespec until{};
  ::clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += milliseconds * 1'000'000;
  until.tv_sec += until.tv_nsec / 1'000'000'000;
  until.tv_nsec %= 1'000'000'000;
  while (::sem_timedwait(&signals, &until) != 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

/// Ends the process when it does not end itself, without a word to its other threads.
void end_if_deaf() {
  while (::sem_wait(&signals) != 0) {
  }
  bool again = wait_for_signal(kPatience);
  while (!again && sae::has_unsaved_work()) again = wait_for_signal(kPatience / 10);
  ending.lock();
  sae::discard_temporaries();
  leave_line();
  ::_exit(report_stop());
}

}  // namespace

void stop_on_signals() {
  ::sem_init(&signals, 0, 0);
  std::thread(end_if_deaf).detach();
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM}) ::sigaction(signal, &action, nullptr);
  // A terminal that goes away; under nohup it may.
  struct sigaction before {};
  ::sigaction(SIGHUP, nullptr, &before);
  if (before.sa_handler != SIG_IGN) ::sigaction(SIGHUP, &action, nullptr);
}

void wait_if_ending() { const std::lock_guard lock(ending); }

void set_way_on(const std::string& command_line) {
  const std::lock_guard lock(way_on_mutex);
  way_on = command_line;
}

int report_stop() {
  const std::lock_guard lock(way_on_mutex);
  if (!reported.exchange(true)) {
    print_warning(way_on.empty() ? "stopped"
                                 : "stopped; everything is saved. Go on with: " + way_on);
  }
  return stop_status();
}

int stop_status() {
  // Without a signal it was another process of the same work that was told to stop.
  return first_signal == 0 ? kOthers : kStopped + first_signal;
}

}  // namespace sae_cli
