#pragma once

#include <torchrev/options.h>

#include <memory>

#include "guards/deferred_check.h"
#include "streams/arithmetic.h"

namespace torchrev {
namespace detail {

// Checks that streams stay in the range in which arithmetic on the grid of
// `fraction_bits` is exact, see NOTE [Grid]; null without a grid. `x`: an input
// of the call.
//
// A stream that is not finite passes: that shows by itself, and loss scalers
// make such streams on purpose. `checks`: who gets the error where it comes
// later.
StreamCheck range_guard(
    const ReversibleOptions& options,
    const Tensor& x,
    std::shared_ptr<DeferredChecks> checks = nullptr);

}  // namespace detail
}  // namespace torchrev
