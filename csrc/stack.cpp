#include "stack.h"

#include <ATen/WrapDimUtils.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <vector>

#include "check.h"
#include "chunks.h"
#include "drift_guard.h"
#include "reversible_function.h"

namespace torchrev {
namespace detail {

namespace {

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

// The streams before a range are rebuilt if stream 2, of which F is a function,
// needs a gradient.
std::shared_ptr<StreamObserver> observer_of(
    const Stack& stack, const Range& range, const StreamPair& x) {
  const auto& tolerance = stack.options.drift_tolerance();
  const bool watched =
      tolerance && at::GradMode::is_enabled() && !x[0].is_meta();
  if (stack.observer || !watched) {
    return stack.observer;
  }
  return std::make_shared<DriftGuard>(
      stack.entry, *tolerance, range.begin, range.end, x[1].requires_grad());
}

StreamPair run_steps(
    const std::shared_ptr<Call>& call,
    const Stack& stack,
    const Range& range,
    StreamPair x) {
  for (auto i = range.begin; i < range.end; ++i) {
    call->relay.in_forward(2 * i, x);
    const auto& [f, g] = stack.blocks[i];
    x[0] = apply_step(call, f, 2 * i, x[0], x[1], stack.context);
    x[1] = apply_step(call, g, 2 * i + 1, x[1], x[0], stack.context);
  }
  call->relay.in_forward(2 * range.end, x);
  return x;
}

std::shared_ptr<Call> make_call(
    const Stack& stack,
    const Arithmetic& arithmetic,
    const Range& range,
    const StreamPair& x) {
  auto call = std::make_shared<Call>(stack.entry, stack.options, arithmetic, x);
  call->relay.observe(observer_of(stack, range, x));
  return call;
}

int64_t last_step(const Range& range) {
  return 2 * range.end - 1;
}

StreamPair run_calls(
    const Stack& stack,
    const Arithmetic& arithmetic,
    at::ArrayRef<Range> calls,
    StreamPair x) {
  for (const auto& range : calls) {
    const auto call = make_call(stack, arithmetic, range, x);
    x = run_steps(call, stack, range, std::move(x));
    x = apply_end(call, last_step(range), x);
  }
  return x;
}

// What the branch of `step` returns for the stream `x`, chunk by chunk, in
// plain autograd.
Tensor value_of(
    const Stack& stack,
    const Arithmetic& arithmetic,
    int64_t step,
    const Tensor& x) {
  const auto& block = stack.blocks[step / 2];
  const auto& branch = step % 2 == 0 ? block.f : block.g;
  const Chunks chunks(stack.options, step, x);
  return chunks.map(
      arithmetic.leave(x), [&](const Tensor& part, std::size_t /*i*/) {
        return checked_branch(
            {stack.entry, step},
            part,
            arithmetic.value_sizes(part.sizes()),
            [&] { return branch(part, stack.context); });
      });
}

// The last blocks, which keep their activations.
StreamPair run_stored(
    const Stack& stack, const Arithmetic& arithmetic, StreamPair x) {
  for (auto step = 2 * (stack.depth() - stack.stored());
       step < 2 * stack.depth();
       ++step) {
    auto& addend = x[step % 2];
    const auto& other = x[1 - step % 2];
    addend = arithmetic.couple(
        {stack.entry, step}, addend, value_of(stack, arithmetic, step, other));
  }
  return x;
}

// Branches in chunks give the values of chunks: a coupling that widens them
// along the dimension of the chunks would mix them up.
void check_values(
    const Stack& stack, const Arithmetic& arithmetic, const Tensor& stream) {
  const auto sizes = arithmetic.value_sizes(stream.sizes());
  const auto& options = stack.options;
  if (options.chunks_f() == 1 && options.chunks_g() == 1) {
    return;
  }
  const auto dim = at::maybe_wrap_dim(options.chunk_dim(), stream.dim());
  TORCH_CHECK_VALUE(
      sizes.size() == stream.sizes().size() && sizes[dim] == stream.size(dim),
      "torchrev::",
      stack.entry,
      ": expected branches in chunks along dimension ",
      dim,
      " to return the size of their input there, but got a coupling that asks "
      "for ",
      at::IntArrayRef(sizes),
      " (stream ",
      stream.sizes(),
      "). Choose another `chunk_dim`.");
}

}  // namespace

StreamPair run_streams(
    const Stack& stack, const Arithmetic& arithmetic, StreamPair x) {
  check_values(stack, arithmetic, x[0]);
  return run_stored(
      stack,
      arithmetic,
      run_calls(stack, arithmetic, calls_of(stack), std::move(x)));
}

Tensor run_merged(const Stack& stack, const Tensor& x, int64_t dim) {
  const Arithmetic arithmetic(stack.entry, stack.options, x);
  const auto halves = x.chunk(2, dim);
  StreamPair streams{arithmetic.enter(halves[0]), arithmetic.enter(halves[1])};
  if (stack.stored() > 0) {
    const auto y = run_streams(stack, arithmetic, std::move(streams));
    return arithmetic.leave(at::cat({y[0], y[1]}, dim));
  }
  check_values(stack, arithmetic, streams[0]);
  const auto calls = calls_of(stack);
  streams = run_calls(
      stack,
      arithmetic,
      at::ArrayRef<Range>(calls).slice(0, calls.size() - 1),
      std::move(streams));
  const auto& last = calls.back();
  const auto call = make_call(stack, arithmetic, last, streams);
  return arithmetic.leave(apply_merging_end(
      call,
      last_step(last),
      run_steps(call, stack, last, std::move(streams)),
      dim));
}

StreamPair invert(const Stack& stack, const Tensor& y1, const Tensor& y2) {
  const at::NoGradGuard no_grad;
  const Arithmetic arithmetic(stack.entry, stack.options, y1);
  check_values(stack, arithmetic, y1);
  // Aliases of the caller's tensors share their storage, which is not reused.
  StreamPair streams{
      arithmetic.enter(y1.detach()), arithmetic.enter(y2.detach())};
  const Call call(stack.entry, stack.options, arithmetic, streams);
  for (auto step = 2 * stack.depth(); step-- > 0;) {
    auto& out = streams[step % 2];
    const auto& other = streams[1 - step % 2];
    auto value = value_of(stack, arithmetic, step, other);
    out = arithmetic.separate(
        {stack.entry, step},
        std::move(out),
        std::move(value),
        call.strides[step % 2]);
  }
  return {arithmetic.leave(streams[0]), arithmetic.leave(streams[1])};
}

}  // namespace detail
}  // namespace torchrev
