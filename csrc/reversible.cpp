#include <torchrev/reversible.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>

#include "check.h"
#include "stack.h"
#include "verdict.h"

namespace torchrev {

namespace {

using detail::Arithmetic;
using detail::Stack;
using detail::StreamPair;

// The blocks that backward inverts.
int64_t rebuilt(const Stack& stack) {
  return at::GradMode::is_enabled() ? stack.depth() - stack.stored() : 0;
}

// What every entry checks: first the stack, then, with a tensor `x` that is as
// it should be, the call, of which `inverted` blocks are.
void check_call(const Stack& stack, const Tensor& x, int64_t inverted) {
  detail::judge_arrived();
  detail::check_chunks(stack.entry, stack.options, x);
  detail::check_streams_options(stack.entry, stack.options, x);
  detail::check_invertible(stack.entry, stack.options, inverted);
}

void check_stack(const Stack& stack) {
  detail::check_blocks(stack.entry, stack.blocks.size());
  detail::check_options(stack.entry, stack.options);
  for (const auto& block : stack.blocks) {
    block.f.select(stack.context);
    block.g.select(stack.context);
  }
}

std::tuple<Tensor, Tensor> checked_run(
    const Stack& stack, const Tensor& x1, const Tensor& x2) {
  check_stack(stack);
  detail::check_streams(stack.entry, "x1", x1, "x2", x2);
  check_call(stack, x1, rebuilt(stack));
  const Arithmetic arithmetic(stack.entry, stack.options, x1);
  const auto y = run_streams(
      stack, arithmetic, {arithmetic.enter(x1), arithmetic.enter(x2)});
  return {arithmetic.leave(y[0]), arithmetic.leave(y[1])};
}

std::tuple<Tensor, Tensor> checked_invert(
    const Stack& stack, const Tensor& y1, const Tensor& y2) {
  check_stack(stack);
  detail::check_streams(stack.entry, "y1", y1, "y2", y2);
  check_call(stack, y1, stack.depth());
  auto x = invert(stack, y1, y2);
  return {std::move(x[0]), std::move(x[1])};
}

}  // namespace

std::tuple<Tensor, Tensor> reversible_block(
    const Branch& f,
    const Branch& g,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context,
    const ReversibleOptions& options) {
  const BranchPair block{f, g};
  return checked_run({"reversible_block", block, context, options}, x1, x2);
}

std::tuple<Tensor, Tensor> reversible_sequence(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context,
    const ReversibleOptions& options) {
  return checked_run({"reversible_sequence", blocks, context, options}, x1, x2);
}

Tensor reversible_residual(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& x,
    at::TensorList context,
    const ReversibleOptions& options) {
  const Stack stack{"reversible_residual", blocks, context, options};
  check_stack(stack);
  const auto streams = options.streams();
  detail::check_residual(stack.entry, "x", x, streams);
  check_call(stack, x, rebuilt(stack));
  if (streams.kind == Streams::Kind::kSplit) {
    return run_merged(stack, x, streams.dim);
  }
  const Arithmetic arithmetic(stack.entry, options, x);
  const auto stream = arithmetic.enter(x);
  if (streams.kind == Streams::Kind::kVelocity) {
    const auto velocity = at::zeros_like(stream.detach());
    return arithmetic.leave(
        run_streams(stack, arithmetic, {velocity, stream})[1]);
  }
  const auto y = run_streams(stack, arithmetic, {stream, stream});
  return arithmetic.leave((y[0] + y[1]) / 2);
}

std::tuple<Tensor, Tensor> reversible_block_inverse(
    const Branch& f,
    const Branch& g,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context,
    const ReversibleOptions& options) {
  const BranchPair block{f, g};
  return checked_invert(
      {"reversible_block_inverse", block, context, options}, y1, y2);
}

std::tuple<Tensor, Tensor> reversible_sequence_inverse(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context,
    const ReversibleOptions& options) {
  return checked_invert(
      {"reversible_sequence_inverse", blocks, context, options}, y1, y2);
}

Tensor reversible_residual_inverse(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& y,
    at::TensorList context,
    const ReversibleOptions& options) {
  const Stack stack{"reversible_residual_inverse", blocks, context, options};
  check_stack(stack);
  const auto streams = options.streams();
  detail::check_residual(stack.entry, "y", y, streams);
  TORCH_CHECK_VALUE(
      streams.kind == Streams::Kind::kSplit,
      "torchrev::",
      stack.entry,
      ": expected split() streams, but got ",
      streams.kind == Streams::Kind::kDuplicate
          ? "duplicate(): a mean does not"
          : "velocity(): one stream does not",
      " determine a pair. Use the inverse of the two streams.");
  check_call(stack, y, stack.depth());
  at::NoGradGuard no_grad;
  const auto y12 = y.chunk(2, streams.dim);
  const auto x = invert(stack, y12[0], y12[1]);
  return at::cat({x[0], x[1]}, streams.dim);
}

namespace detail {

StreamPair run_observed(
    at::ArrayRef<BranchPair> blocks,
    const StreamPair& x,
    at::TensorList context,
    const ReversibleOptions& options,
    std::shared_ptr<StreamObserver> observer) {
  auto y = checked_run(
      {"drift", blocks, context, options, std::move(observer)}, x[0], x[1]);
  return {std::get<0>(y), std::get<1>(y)};
}

}  // namespace detail
}  // namespace torchrev
