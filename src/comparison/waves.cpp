#include "comparison/waves.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "base/parallel.h"
#include "comparison/memory.h"
#include "sae/base/device.h"
#include "sae/base/error.h"

namespace sae {
namespace {

std::int64_t budget_of(const ComparisonPlan& plan, const std::string& queue) {
  const at::Device device = parse_device(queue);
  const auto sharers =
      std::count_if(plan.queues.begin(), plan.queues.end(),
                    [&](const std::string& other) { return parse_device(other) == device; });
  return memory_budget(plan.memory, device, sharers);
}

class Queues {
 public:
  Queues(const ComparisonPlan& plan, const std::vector<Cohort>& cohorts, std::size_t threads,
         const std::function<bool()>& after_chunk)
      : plan_(plan), cohorts_(cohorts), threads_(threads), after_chunk_(after_chunk) {}

  bool run() {
    run_jobs(plan_.queues.size(), plan_.queues.size(), [&](std::size_t queue) {
      try {
        for (const Cohort& cohort : cohorts_) train(cohort, queue);
      } catch (...) {
        stop_ = true;  // the others save what they have
        throw;
      }
    });
    return !stop_;
  }

 private:
  void train(const Cohort& cohort, std::size_t queue) {
    std::vector<Entrant*> left;
    for (Entrant* one : cohort.entrants) {
      if (one->plan->queue == queue) left.push_back(one);
    }
    while (!left.empty() && !stop_) {
      const auto end = left.begin() + static_cast<std::ptrdiff_t>(next_wave(cohort, left, queue));
      const std::vector<Entrant*> wave(left.begin(), end);
      if (!train_wave(cohort, wave, threads_of(queue), [&] { return report(wave); })) stop_ = true;
      left.erase(left.begin(), end);
    }
  }

  std::size_t next_wave(const Cohort& cohort, const std::vector<Entrant*>& left,
                        std::size_t queue) {
    release_freed_memory(parse_device(plan_.queues[queue]));
    std::vector<RunMemory> runs;
    for (const Entrant* one : left)
      runs.push_back(estimate_memory(one->plan->options, cohort.data));
    return wave_size(runs, threads_of(queue),
                     budget_of(plan_, plan_.queues[queue]) - batch_memory(cohort));
  }

  std::size_t threads_of(std::size_t queue) const {
    const std::size_t queues = plan_.queues.size();
    return std::max<std::size_t>(1, (threads_ + queues - 1 - queue) / queues);
  }

  bool report(const std::vector<Entrant*>& wave) {
    const std::lock_guard lock(reporting_);
    for (Entrant* one : wave) {
      if (one->run)
        one->done = one->failure.empty() ? one->run->trainer().steps_done() : one->steps();
    }
    if (stop_) return false;
    if (!after_chunk_()) stop_ = true;
    return !stop_;
  }

  const ComparisonPlan& plan_;
  const std::vector<Cohort>& cohorts_;
  std::size_t threads_;
  const std::function<bool()>& after_chunk_;
  std::atomic<bool> stop_ = false;
  std::mutex reporting_;
};

}  // namespace

std::int64_t batch_memory(const Cohort& cohort) {
  constexpr std::int64_t kReadAhead = 4;
  return (2 * cohort.chunk() + kReadAhead) * cohort.batch * cohort.data.d_in * 4;
}

std::string check_memory(const ComparisonPlan& plan, const std::vector<Cohort>& cohorts) {
  std::string largest;
  std::int64_t most = 0, allowed = 0, count = 0;
  for (const Cohort& cohort : cohorts) {
    for (const Entrant* one : cohort.entrants) {
      const RunOptions& options = one->plan->options;
      const std::int64_t least = least_memory(options, cohort.data);
      const auto memory = memory_of(parse_device(options.basics.device));
      if (memory && least > memory->total) {
        throw ConfigError("runs/" + one->plan->name + ": needs " + size_text(least) +
                          " for parameters, moments and gradients, " +
                          parse_device(options.basics.device).str() + " has " +
                          size_text(memory->total) + "; lower model.d_sae");
      }
      const RunMemory run = estimate_memory(options, cohort.data);
      const std::int64_t budget = budget_of(plan, plan.queues[one->plan->queue]);
      const std::int64_t needed = run.held + run.working + batch_memory(cohort);
      if (needed <= budget) continue;
      ++count;
      if (needed <= most) continue;
      most = needed;
      allowed = budget;
      largest = one->plan->name;
    }
  }
  if (count == 0) return "";
  return "memory: " + std::to_string(count) + (count == 1 ? " run needs" : " runs need") +
         " more than the " + size_text(allowed) + " that may be taken (" + largest + " about " +
         size_text(most) +
         "); trained alone it may still be ended for lack of memory: lower model.d_sae or "
         "train.batch, or raise train.accumulate";
}

bool train_in_waves(const ComparisonPlan& plan, const std::vector<Cohort>& cohorts,
                    std::size_t threads, const std::function<bool()>& after_chunk) {
  return Queues(plan, cohorts, threads, after_chunk).run();
}

}  // namespace sae
