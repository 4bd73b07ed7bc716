#pragma once

#include <torchrev/plan.h>

#include <map>
#include <memory>
#include <mutex>

#include "measure/plan_key.h"

// Chooses which blocks of a stack keep their activations within a budget.

namespace torchrev {
namespace detail {

// The plans of one stack, each made once. Calls from several threads are safe;
// none waits for another's plan.
class Planner {
 public:
  // See nn::ReversibleSequential::plan.
  Plan plan(const StackRun& run, torch::optional<int64_t> budget);

  // The options to make `run` with: the planned `store_last`. Costs nothing
  // where there is no budget or no gradient.
  ReversibleOptions options_of(
      const StackRun& run, torch::optional<int64_t> budget);

 private:
  // A key holds the address of the coupling, which is kept so that no other
  // coupling gets that address.
  struct Entry {
    Plan plan;
    std::shared_ptr<const Coupling> coupling;
  };

  // Guards the map alone: no step is measured under it.
  std::mutex mutex_;
  std::map<PlanKey, Entry> plans_;
};

}  // namespace detail
}  // namespace torchrev
