#include "measure/planner.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <limits>

#include "check.h"
#include "measure/measure_step.h"

namespace torchrev {

namespace detail {

namespace {

// More than any budget.
constexpr auto kTooMuch = std::numeric_limits<int64_t>::max();

bool requires_grad(at::TensorList tensors) {
  return std::any_of(tensors.begin(), tensors.end(), [](const Tensor& tensor) {
    return tensor.defined() && tensor.requires_grad();
  });
}

// Whether there will be a backward.
bool trains(const StackRun& run) {
  return at::GradMode::is_enabled() &&
         (requires_grad(run.x) || requires_grad(run.stack.context) ||
          std::any_of(
              run.stack.blocks.begin(),
              run.stack.blocks.end(),
              [](const auto& block) {
                return requires_grad(block.f.parameters()) ||
                       requires_grad(block.g.parameters());
              }));
}

// Steps of one run with different numbers of kept blocks, each measured once.
class MeasuredSteps {
 public:
  explicit MeasuredSteps(const StackRun& run) : run_(run) {}

  const StepBytes& at(int64_t kept) {
    const auto found = steps_.find(kept);
    if (found != steps_.end()) {
      return found->second;
    }
    run_.stack.options.store_last(kept);
    if (steps_.empty()) {
      // Libraries allocate workspaces, and branches are searched, in the first
      // step of all.
      measure_step(run_);
    }
    return steps_[kept] = measure_step(run_);
  }

  // The most blocks that can be kept if `at(0)` fits.
  int64_t most_within(int64_t budget) {
    auto kept = guess(budget);
    while (peak(kept) > budget) {
      --kept;
    }
    while (kept < run_.stack.depth() && peak(kept + 1) <= budget) {
      ++kept;
    }
    return kept;
  }

 private:
  // The step that shows one more block to be too much needs more than the
  // budget, and so maybe more than there is.
  int64_t peak(int64_t kept) {
    try {
      return at(kept).peak;
    } catch (const c10::OutOfMemoryError&) {
      return (steps_[kept] = {kTooMuch, kTooMuch}).peak;
    }
  }

  // Block by block in plain autograd: a kept block holds what it retains while
  // the blocks after it need their peak.
  int64_t guess(int64_t budget) {
    std::vector<StepBytes> blocks;
    try {
      blocks = measure_blocks(run_);
    } catch (const c10::OutOfMemoryError&) {
      return 0;
    }
    auto peak = int64_t(0);
    auto kept = int64_t(0);
    for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
      peak = std::max(block->peak, block->retained + peak);
      if (at(0).retained + peak > budget) {
        break;
      }
      ++kept;
    }
    return kept;
  }

  StackRun run_;
  std::map<int64_t, StepBytes> steps_;
};

void check_budget(const StackRun& run, int64_t budget, int64_t needed) {
  TORCHREV_CHECK(
      ValueError,
      needed <= budget,
      run.stack.entry,
      c10::str(
          "option `memory_budget` to be at least the ",
          needed,
          " bytes of a step that keeps no block (shape ",
          run.x[0].sizes(),
          ")"),
      c10::str(budget),
      "Raise it, cut the input, or evaluate branches in chunks (`chunks_f`, "
      "`chunks_g`).");
}

Plan make_plan(const StackRun& run, torch::optional<int64_t> budget) {
  MeasuredSteps steps(run);
  auto kept = std::min(run.stack.options.store_last(), run.stack.depth());
  if (budget && trains(run)) {
    check_budget(run, *budget, steps.at(0).peak);
    kept = steps.most_within(*budget);
  }
  const auto step = steps.at(kept);
  return {run.stack.depth(), kept, step.retained, step.peak};
}

void check_inputs(const StackRun& run) {
  const auto* const entry = run.stack.entry;
  if (run.x.size() == 1) {
    check_residual(entry, "x", run.x[0], run.stack.options.streams());
  } else {
    check_streams(entry, "x1", run.x[0], "x2", run.x[1]);
  }
}

}  // namespace

Plan Planner::plan(const StackRun& run, torch::optional<int64_t> budget) {
  check_inputs(run);
  auto key = key_of(run, budget);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = plans_.find(key);
    if (found != plans_.end()) {
      return found->second.plan;
    }
  }
  const auto plan = make_plan(run, budget);
  const std::lock_guard<std::mutex> lock(mutex_);
  plans_.emplace(std::move(key), Entry{plan, run.stack.options.coupling()});
  return plan;
}

ReversibleOptions Planner::options_of(
    const StackRun& run, torch::optional<int64_t> budget) {
  auto options = run.stack.options;
  if (budget && trains(run)) {
    options.store_last(plan(run, budget).store_last);
  }
  return options;
}

}  // namespace detail
}  // namespace torchrev
