#pragma once

#include <torchrev/options.h>

#include <memory>

#include "model.h"

namespace torchrev_benchmark {

/// One way to take a training step over a stack of blocks: the gradients of
/// (y * weight).sum(), where `y` [N, T, 2 C] is the stack's output for `x`.
class Step {
 public:
  virtual ~Step() = default;

  /// Keeps what `backward` needs. `x` [N, T, 2 C] requires grad: both streams,
  /// side by side.
  virtual void forward(const Tensor& x) = 0;

  /// Adds the gradients to `.grad` of x and of the parameters.
  virtual void backward(const Tensor& weight) = 0;
};

/// Plain autograd over the same formula.
std::unique_ptr<Step> plain_step(const Blocks& blocks);

/// torchrev::nn::ReversibleSequential.
std::unique_ptr<Step> torchrev_step(
    const Blocks& blocks, const torchrev::ReversibleOptions& options);

/// What every recomputing step has to do, and nothing else: each branch once
/// without grad; then, backwards, each branch once more with grad, and its
/// backward. It keeps the input of every branch, so it rebuilds nothing: the
/// floor of a reversible step's time, not of its memory.
std::unique_ptr<Step> floor_step(const Blocks& blocks);

}  // namespace torchrev_benchmark
