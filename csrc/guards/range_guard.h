#pragma once

#include <torchrev/options.h>

#include "streams/arithmetic.h"

namespace torchrev {
namespace detail {

// Checks that streams stay in the range in which arithmetic on the grid of
// `fraction_bits` is exact, see NOTE [Grid]; null without a grid. `x`: an input
// of the call.
//
// A stream that is not finite passes: that shows by itself, and loss scalers
// make such streams on purpose.
StreamCheck range_guard(const ReversibleOptions& options, const Tensor& x);

}  // namespace detail
}  // namespace torchrev
