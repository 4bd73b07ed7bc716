#pragma once

#include <cstdint>
#include <vector>

#include "measure/isolated_run.h"

namespace torchrev {
namespace detail {

// What the bytes of a step depend on: options, inputs, branches and their
// modes, autocast, grad mode.
using PlanKey = std::vector<int64_t>;

PlanKey key_of(const StackRun& run, torch::optional<int64_t> budget);

}  // namespace detail
}  // namespace torchrev
