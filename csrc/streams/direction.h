#pragma once

namespace torchrev {
namespace detail {

// Which way a stack runs: from x to y, or from y to x. Each way rebuilds in
// backward what the other one computes.
enum class Direction { kForward, kInverse };

}  // namespace detail
}  // namespace torchrev
