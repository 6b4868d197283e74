// Where a training step's time goes, for `sae bench`: scopes that cost nothing unless asked.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <utility>

namespace sae {

enum class Stage : std::size_t { kEncode, kSelect, kDecode, kBackward, kOptimizer, kStatistics };
inline constexpr std::array<const char*, 6> kStageNames = {"encode",   "select",    "decode",
                                                           "backward", "optimizer", "statistics"};

/// Seconds per stage, added up while an object of this class lives, on the thread that made it.
/// A GPU works on after a call has returned: `settle`, if given, waits for it wherever a stage
/// begins and ends.
class StageClock {
 public:
  explicit StageClock(std::function<void()> settle = {})
      : settle_(std::move(settle)), outer_(current) {
    current = this;
  }
  ~StageClock() { current = outer_; }
  StageClock(const StageClock&) = delete;
  StageClock& operator=(const StageClock&) = delete;

  std::array<double, kStageNames.size()> seconds{};

 private:
  friend class StageScope;
  std::chrono::steady_clock::time_point now() const {
    if (settle_) settle_();
    return std::chrono::steady_clock::now();
  }
  std::function<void()> settle_;
  inline static thread_local StageClock* current = nullptr;
  StageClock* outer_;
};

/// Counts the time of a scope. Scopes do not nest.
class StageScope {
 public:
  explicit StageScope(Stage stage) : clock_(StageClock::current), stage_(stage) {
    if (clock_) start_ = clock_->now();
  }
  ~StageScope() {
    if (!clock_) return;
    const std::chrono::duration<double> spent = clock_->now() - start_;
    clock_->seconds[static_cast<std::size_t>(stage_)] += spent.count();
  }
  StageScope(const StageScope&) = delete;
  StageScope& operator=(const StageScope&) = delete;

 private:
  StageClock* clock_;
  Stage stage_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace sae
