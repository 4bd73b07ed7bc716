#include "stack/checked_run.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>

#include "branch/in_branch.h"
#include "check.h"
#include "guards/deferred_check.h"
#include "options.h"
#include "stack/transforms.h"

namespace torchrev {
namespace detail {

namespace {

void check_stack(const Stack& stack) {
  check_blocks(stack.entry, stack.blocks.size());
  check_options(stack.entry, stack.options);
  for (const auto& block : stack.blocks) {
    block.f.select(stack.context);
    block.g.select(stack.context);
  }
}

// The blocks that backward inverts.
int64_t rebuilt(const Stack& stack) {
  return at::GradMode::is_enabled() ? stack.depth() - stack.stored() : 0;
}

// What depends on a tensor `x` of the call that is as it should be, and on how
// many of the blocks are inverted.
void check_call(const Stack& stack, const Tensor& x, int64_t inverted) {
  if (const auto checks = DeferredChecks::of(stack.blocks, x.device())) {
    checks->end_run();
  }
  check_chunks(stack.entry, stack.options, x);
  check_streams_options(stack.entry, stack.options, x);
  check_invertible(stack.entry, stack.options, inverted);
}

// The streams that come out of `stack`, for those that go in.
StreamPair run_pair(const Stack& stack, const Tensor& x1, const Tensor& x2) {
  const auto arithmetic = arithmetic_of(stack, x1);
  const auto y = run_streams(
      stack, arithmetic, {arithmetic.enter(x1), arithmetic.enter(x2)});
  return {arithmetic.leave(y[0]), arithmetic.leave(y[1])};
}

}  // namespace

StreamPair checked_run(const Stack& stack, const Tensor& x1, const Tensor& x2) {
  check_stack(stack);
  check_streams(stack.entry, "x1", x1, "x2", x2);
  check_call(stack, x1, rebuilt(stack));
  if (check_transforms(stack, {{"x1", x1}, {"x2", x2}})) {
    return checked_run(kept_whole(stack), x1, x2);
  }
  return naming(stack.entry, [&] { return run_pair(stack, x1, x2); });
}

StreamPair split(const Tensor& x, const Streams& streams) {
  switch (streams.kind) {
    case Streams::Kind::kDuplicate:
      return {x, x};
    case Streams::Kind::kVelocity:
      return {at::zeros_like(x.detach()), x};
    default: {
      const auto halves = x.chunk(2, streams.dim);
      return {halves[0], halves[1]};
    }
  }
}

Tensor checked_residual(const Stack& stack, const Tensor& x) {
  check_stack(stack);
  const auto streams = stack.options.streams();
  check_residual(stack.entry, "x", x, streams);
  check_call(stack, x, rebuilt(stack));
  if (check_transforms(stack, {{"x", x}})) {
    return checked_residual(kept_whole(stack), x);
  }
  return naming(stack.entry, [&] {
    if (streams.kind == Streams::Kind::kSplit) {
      return run_merged(stack, x, streams.dim);
    }
    const auto arithmetic = arithmetic_of(stack, x);
    const auto y =
        run_streams(stack, arithmetic, split(arithmetic.enter(x), streams));
    return arithmetic.leave(
        streams.kind == Streams::Kind::kVelocity ? y[1] : (y[0] + y[1]) / 2);
  });
}

StreamPair checked_inverse(Stack stack, const Tensor& y1, const Tensor& y2) {
  stack.direction = Direction::kInverse;
  check_stack(stack);
  check_streams(stack.entry, "y1", y1, "y2", y2);
  check_call(stack, y1, stack.depth());
  check_no_transforms(stack, {{"y1", y1}, {"y2", y2}});
  return naming(stack.entry, [&] { return run_pair(stack, y1, y2); });
}

Tensor checked_residual_inverse(Stack stack, const Tensor& y) {
  stack.direction = Direction::kInverse;
  check_stack(stack);
  const auto streams = stack.options.streams();
  check_residual(stack.entry, "y", y, streams);
  TORCHREV_CHECK(
      ValueError,
      streams.kind == Streams::Kind::kSplit,
      stack.entry,
      "split() streams",
      streams.kind == Streams::Kind::kDuplicate
          ? "duplicate(): a mean does not determine a pair"
          : "velocity(): one stream does not determine a pair",
      "Use the inverse of the two streams.");
  check_call(stack, y, stack.depth());
  check_no_transforms(stack, {{"y", y}});
  return naming(stack.entry, [&] { return run_merged(stack, y, streams.dim); });
}

}  // namespace detail
}  // namespace torchrev
