#pragma once

#include "support/support.h"

/// Plain autograd over the formula that options ask for: couplings, streams of
/// another dtype, values on a grid.

namespace torchrev {
namespace test {

/// x to the nearest multiple of 2^-bits; its gradient is that of x.
Tensor round_straight_through(const Tensor& x, int64_t bits);

/// {y1, y2} of `blocks`, as torchrev::reversible_sequence gives them.
Stack plain(const Blocks& blocks, const ReversibleOptions& options);
/// The same in the dtype of streams.
Stack plain_streams(const Blocks& blocks, const ReversibleOptions& options);

/// While it lives, the branches of plain() and plain_inverse() in this thread
/// see streams to which numbers of up to `noise` are added: what a computation
/// makes of rounding. `phase`: of several that differ.
class Disturbance {
 public:
  explicit Disturbance(double noise, double phase = 0);
  ~Disturbance();
  Disturbance(const Disturbance&) = delete;
  Disturbance& operator=(const Disturbance&) = delete;

  /// The largest magnitude that branches have seen since it was made, noise
  /// aside.
  double largest() const;

 private:
  double noise_;
  double phase_;
  double largest_;
};

/// `x` as a branch sees it: with the noise of the Disturbance that lives in
/// this thread, if one does.
Tensor as_seen(const Tensor& x);

/// {x1, x2} of {y1, y2}: the inverse as torchrev::reversible_sequence_inverse
/// gives it, and in plain autograd.
Stack reversible_inverse(
    const Blocks& blocks, const ReversibleOptions& options = {});
Stack plain_inverse(
    const Blocks& blocks, const ReversibleOptions& options = {});

/// One step of `reversible(blocks, options)` against one of
/// `plain(blocks, options)`.
testing::AssertionResult MatchesOracle(
    const Blocks& blocks,
    const Inputs& inputs,
    const ReversibleOptions& options,
    double tolerance = kFloat64Tolerance);

/// The same of the inverses.
testing::AssertionResult InverseMatchesOracle(
    const Blocks& blocks,
    const Inputs& inputs,
    const ReversibleOptions& options = {},
    double tolerance = kFloat64Tolerance);

/// A step in chunks against the whole. Products of other sizes are summed in
/// another order: outputs, too, agree up to rounding.
testing::AssertionResult MatchesWhole(
    const Blocks& blocks,
    const Inputs& inputs,
    const ReversibleOptions& options,
    double tolerance = kFloat64Tolerance);

/// A step equal to the bit.
testing::AssertionResult EqualsOracle(
    const Blocks& blocks,
    const Inputs& inputs,
    const ReversibleOptions& options);

/// `depth` blocks of Linear and ReLU, without a norm that would keep rounding
/// errors from growing.
Blocks unnormalised_blocks(int64_t depth, int64_t width, at::ScalarType dtype);

}  // namespace test
}  // namespace torchrev
