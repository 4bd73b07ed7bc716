#pragma once

#include <torchrev/drift.h>

#include <vector>

#include "stack/stack.h"

namespace torchrev {
namespace detail {

// See torchrev::drift.
std::vector<BlockDrift> measure_drift(
    const Stack& stack, const Tensor& x1, const Tensor& x2);

}  // namespace detail
}  // namespace torchrev
