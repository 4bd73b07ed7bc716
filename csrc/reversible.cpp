#include <torchrev/reversible.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <vector>

#include "check.h"
#include "chunks.h"
#include "reversible_function.h"

namespace torchrev {

namespace {

using detail::Call;
using detail::StreamPair;

// What all that runs over a stack needs.
struct Stack {
  const char* entry;
  at::ArrayRef<BranchPair> blocks;
  at::TensorList context;
  const ReversibleOptions& options;

  int64_t depth() const {
    return static_cast<int64_t>(blocks.size());
  }
  int64_t stored() const {
    return std::min(options.store_last(), depth());
  }
};

// Blocks [begin, end) of a stack.
struct Range {
  int64_t begin;
  int64_t end;
};

// The blocks that are rebuilt in backward, cut into calls that keep one pair
// each.
std::vector<Range> calls_of(const Stack& stack) {
  const auto end = stack.depth() - stack.stored();
  const auto length = stack.options.save_every() > 0
                          ? stack.options.save_every()
                          : stack.depth();
  std::vector<Range> calls;
  for (int64_t begin = 0; begin < end; begin += length) {
    calls.push_back({begin, std::min(begin + length, end)});
  }
  return calls;
}

StreamPair run_steps(
    const std::shared_ptr<Call>& call,
    const Stack& stack,
    const Range& range,
    StreamPair x) {
  for (auto i = range.begin; i < range.end; ++i) {
    const auto& [f, g] = stack.blocks[i];
    x[0] = detail::apply_step(call, f, 2 * i, x[0], x[1], stack.context);
    x[1] = detail::apply_step(call, g, 2 * i + 1, x[1], x[0], stack.context);
  }
  return x;
}

std::shared_ptr<Call> make_call(const Stack& stack, const StreamPair& x) {
  return std::make_shared<Call>(stack.entry, stack.options, x[0], x[1]);
}

int64_t last_step(const Range& range) {
  return 2 * range.end - 1;
}

StreamPair run_calls(
    const Stack& stack, at::ArrayRef<Range> calls, StreamPair x) {
  for (const auto& range : calls) {
    const auto call = make_call(stack, x);
    x = run_steps(call, stack, range, std::move(x));
    x = detail::apply_end(call, last_step(range), x);
  }
  return x;
}

// branch(x), chunk by chunk, in plain autograd.
Tensor value_of(
    const Stack& stack, const Branch& branch, int64_t step, const Tensor& x) {
  const detail::Chunks chunks(stack.options, step, x);
  return chunks.map(x, [&](const Tensor& part, std::size_t /*i*/) {
    return detail::checked_branch(
        {stack.entry, step}, part, [&] { return branch(part, stack.context); });
  });
}

// The last blocks, which keep their activations.
StreamPair run_stored(const Stack& stack, StreamPair x) {
  for (auto i = stack.depth() - stack.stored(); i < stack.depth(); ++i) {
    const auto& [f, g] = stack.blocks[i];
    x[0] = x[0] + value_of(stack, f, 2 * i, x[1]);
    x[1] = x[1] + value_of(stack, g, 2 * i + 1, x[0]);
  }
  return x;
}

StreamPair run(const Stack& stack, StreamPair x) {
  return run_stored(stack, run_calls(stack, calls_of(stack), std::move(x)));
}

Tensor run_merged(const Stack& stack, StreamPair x, int64_t dim) {
  const auto calls = calls_of(stack);
  if (stack.stored() > 0) {
    const auto y = run(stack, std::move(x));
    return at::cat({y[0], y[1]}, dim);
  }
  x = run_calls(
      stack, at::ArrayRef<Range>(calls).slice(0, calls.size() - 1), x);
  const auto call = make_call(stack, x);
  return detail::apply_merging_end(
      call,
      last_step(calls.back()),
      run_steps(call, stack, calls.back(), std::move(x)),
      dim);
}

// What every entry checks first.
void check_call(const Stack& stack) {
  detail::check_blocks(stack.entry, stack.blocks.size());
  detail::check_options(stack.entry, stack.options);
  for (const auto& block : stack.blocks) {
    block.f.select(stack.context);
    block.g.select(stack.context);
  }
}

std::tuple<Tensor, Tensor> checked_run(
    const Stack& stack, const Tensor& x1, const Tensor& x2) {
  check_call(stack);
  detail::check_streams(stack.entry, "x1", x1, "x2", x2);
  detail::check_chunks(stack.entry, stack.options, x1);
  auto y = run(stack, {x1, x2});
  return {std::move(y[0]), std::move(y[1])};
}

StreamPair invert(const Stack& stack, const Tensor& y1, const Tensor& y2) {
  at::NoGradGuard no_grad;
  const Call call(stack.entry, stack.options, y1, y2);
  // Aliases of the caller's tensors: their storage is shared, so never reused.
  auto x1 = y1.detach();
  auto x2 = y2.detach();
  for (auto i = stack.depth(); i-- > 0;) {
    const auto& [f, g] = stack.blocks[i];
    x2 = detail::difference(
        std::move(x2), value_of(stack, g, 2 * i + 1, x1), call.strides[1]);
    x1 = detail::difference(
        std::move(x1), value_of(stack, f, 2 * i, x2), call.strides[0]);
  }
  return {std::move(x1), std::move(x2)};
}

std::tuple<Tensor, Tensor> checked_invert(
    const Stack& stack, const Tensor& y1, const Tensor& y2) {
  check_call(stack);
  detail::check_streams(stack.entry, "y1", y1, "y2", y2);
  detail::check_chunks(stack.entry, stack.options, y1);
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
  check_call(stack);
  const auto streams = options.streams();
  detail::check_residual(stack.entry, "x", x, streams);
  detail::check_chunks(stack.entry, options, x);
  if (streams.kind == Streams::Kind::kDuplicate) {
    const auto y = run(stack, {x, x});
    return (y[0] + y[1]) / 2;
  }
  const auto x12 = x.chunk(2, streams.dim);
  return run_merged(stack, {x12[0], x12[1]}, streams.dim);
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
  check_call(stack);
  const auto streams = options.streams();
  detail::check_residual(stack.entry, "y", y, streams);
  detail::check_chunks(stack.entry, options, y);
  TORCH_CHECK_VALUE(
      streams.kind == Streams::Kind::kSplit,
      "torchrev::",
      stack.entry,
      ": expected split() streams, but got duplicate(): a "
      "mean does not determine a pair. Use the inverse of the two streams.");
  at::NoGradGuard no_grad;
  const auto y12 = y.chunk(2, streams.dim);
  const auto x = invert(stack, y12[0], y12[1]);
  return at::cat({x[0], x[1]}, streams.dim);
}

}  // namespace torchrev
