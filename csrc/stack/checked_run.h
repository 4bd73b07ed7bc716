#pragma once

#include <ATen/core/Tensor.h>

#include "stack/stack.h"
#include "streams/stream_pair.h"

// What the public entries of reversible.h are: everything is checked, once and
// before anything is computed; then the stack runs.

namespace torchrev {
namespace detail {

// {y1, y2} of the streams {x1, x2}.
StreamPair checked_run(const Stack& stack, const Tensor& x1, const Tensor& x2);

// One tensor, split into streams and merged again as the options say.
Tensor checked_residual(const Stack& stack, const Tensor& x);

// Their inverses, which are the stack run the other way.
StreamPair checked_inverse(Stack stack, const Tensor& y1, const Tensor& y2);
Tensor checked_residual_inverse(Stack stack, const Tensor& y);

// The streams that checked_residual makes of `x`.
StreamPair split(const Tensor& x, const Streams& streams);

}  // namespace detail
}  // namespace torchrev
