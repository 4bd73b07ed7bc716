#pragma once

#include <torchrev/plan.h>

#include <map>
#include <mutex>
#include <vector>

#include "measure/measure_step.h"

// Chooses which blocks of a stack keep their activations within a budget.

namespace torchrev {
namespace detail {

// The plans of one stack, each made once. Calls from several threads are safe;
// none waits for another's plan.
class Planner {
 public:
  // See nn::ReversibleSequential::plan.
  Plan plan(const StackRun& run);

  // The options to make `run` with: the planned `store_last`, no budget. Costs
  // nothing where there is no budget or no gradient.
  ReversibleOptions options_of(const StackRun& run);

 private:
  // What the bytes of a step depend on.
  using Key = std::vector<int64_t>;

  std::mutex mutex_;
  std::map<Key, Plan> plans_;
};

// `options` without a budget, as functions take them.
ReversibleOptions without_budget(ReversibleOptions options);

}  // namespace detail
}  // namespace torchrev
