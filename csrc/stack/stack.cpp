#include "stack/stack.h"

#include <ATen/WrapDimUtils.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <vector>

#include "branch/checked_call.h"
#include "guards/drift_guard.h"
#include "guards/range_guard.h"
#include "recompute/chunks.h"
#include "recompute/interception.h"
#include "stack/end.h"
#include "stack/segment.h"
#include "stack/step.h"
#include "stack/step_order.h"
#include "tensors.h"

namespace torchrev {
namespace detail {

namespace {

// Blocks [begin, end) of a stack.
struct Range {
  int64_t begin;
  int64_t end;

  // The block that runs first, and the one that runs last.
  int64_t first(Direction direction) const {
    return direction == Direction::kForward ? begin : end - 1;
  }
  int64_t last(Direction direction) const {
    return direction == Direction::kForward ? end - 1 : begin;
  }
};

// fn(step) for each step of `range`, in the order in which they run.
template <typename Fn>
void for_each_step(const Range& range, Direction direction, const Fn& fn) {
  const int64_t towards = direction == Direction::kForward ? 1 : -1;
  auto block = range.first(direction);
  for (auto i = range.begin; i < range.end; ++i, block += towards) {
    for (const auto role : roles_in_order(direction)) {
      fn(StepId{block, role});
    }
  }
}

// The blocks that are rebuilt in backward, cut into segments, in the order in
// which they run.
std::vector<Range> segments_of(const Stack& stack) {
  const auto end = stack.depth() - stack.stored();
  const auto length = stack.options.save_every() > 0
                          ? stack.options.save_every()
                          : stack.depth();
  std::vector<Range> segments;
  for (int64_t begin = 0; begin < end; begin += length) {
    segments.push_back({begin, std::min(begin + length, end)});
  }
  if (stack.direction == Direction::kInverse) {
    std::reverse(segments.begin(), segments.end());
  }
  return segments;
}

// The streams before a range are rebuilt if the stream that its first branch
// reads needs a gradient.
std::shared_ptr<StreamObserver> observer_of(
    const Stack& stack, const Range& range, const StreamPair& x) {
  const auto& tolerance = stack.options.drift_tolerance();
  const bool watched =
      tolerance && at::GradMode::is_enabled() && !x[0].is_meta();
  if (stack.observer || !watched) {
    return stack.observer;
  }
  const auto way = stack.direction;
  const auto first = roles_in_order(way)[0];
  return std::make_shared<DriftGuard>(
      stack.entry,
      *tolerance,
      pair_before(range.first(way), way),
      pair_after(range.last(way), way),
      x[1 - stream_changed_by(first)].requires_grad(),
      DeferredChecks::of(stack.blocks, x[0].device()));
}

const Branch& branch_of(const Stack& stack, const StepId& step) {
  const auto& block = stack.blocks[step.block];
  return step.role == Role::kF ? block.f : block.g;
}

StreamPair run_steps(
    const std::shared_ptr<Segment>& segment,
    const Stack& stack,
    const Range& range,
    StreamPair x) {
  const auto way = stack.direction;
  for_each_step(range, way, [&](const StepId& step) {
    if (step.role == roles_in_order(way)[0]) {
      segment->relay.in_forward(pair_before(step.block, way), x);
    }
    auto& stream = x.changed_by(step.role);
    stream = apply_step(
        segment,
        step,
        branch_of(stack, step),
        stream,
        x.read_by(step.role),
        stack.context);
  });
  segment->relay.in_forward(pair_after(range.last(way), way), x);
  return x;
}

std::shared_ptr<Segment> make_segment(
    const Stack& stack,
    const Arithmetic& arithmetic,
    const Range& range,
    const StreamPair& x) {
  auto segment = std::make_shared<Segment>(
      stack.entry, stack.options, stack.direction, arithmetic, x);
  segment->relay.observe(observer_of(stack, range, x));
  segment->steps.reserve(2 * (range.end - range.begin));
  return segment;
}

StepId last_step(const Range& range, Direction direction) {
  return {range.last(direction), roles_in_order(direction)[1]};
}

StreamPair run_segments(
    const Stack& stack,
    const Arithmetic& arithmetic,
    at::ArrayRef<Range> segments,
    StreamPair x) {
  for (const auto& range : segments) {
    const auto segment = make_segment(stack, arithmetic, range, x);
    x = run_steps(segment, stack, range, std::move(x));
    x = apply_end(segment, last_step(range, stack.direction), x);
  }
  return x;
}

// What the branch of `step` returns for the stream `x`, chunk by chunk, in
// plain autograd.
Tensor value_of(
    const Stack& stack,
    const Arithmetic& arithmetic,
    const StepId& step,
    const Tensor& x) {
  const auto& branch = branch_of(stack, step);
  const Chunks chunks(stack.options, step.role, x);
  return chunks.map(
      arithmetic.leave(x), [&](const Tensor& part, std::size_t /*i*/) {
        return checked_call(
            {stack.entry, step},
            part,
            arithmetic.value_sizes(part.sizes()),
            [&] {
              const Interception interception({});
              return branch(part, stack.context);
            });
      });
}

// The last blocks, which keep their activations.
StreamPair run_stored(
    const Stack& stack, const Arithmetic& arithmetic, StreamPair x) {
  const Range range{stack.depth() - stack.stored(), stack.depth()};
  for_each_step(range, stack.direction, [&](const StepId& step) {
    auto& stream = x.changed_by(step.role);
    const auto& other = x.read_by(step.role);
    stream = arithmetic.couple(
        {stack.entry, step},
        stream,
        value_of(stack, arithmetic, step, other),
        other);
  });
  return x;
}

// Values of chunks are put side by side along the dimension of the chunks. That
// is the value of the whole only if the coupling asks for values that are as
// long as the stream in that dimension.
void check_values(
    const Stack& stack, const Arithmetic& arithmetic, const Tensor& stream) {
  const auto sizes = arithmetic.value_sizes(stream.sizes());
  const auto& options = stack.options;
  if (options.chunks_f() == 1 && options.chunks_g() == 1) {
    return;
  }
  const auto dim = at::maybe_wrap_dim(options.chunk_dim(), stream.dim());
  TORCHREV_CHECK(
      ValueError,
      sizes.size() == stream.sizes().size() && sizes[dim] == stream.size(dim),
      stack.entry,
      c10::str(
          "branches in chunks along dimension ",
          dim,
          " to return the size of their input there"),
      c10::str(
          "a coupling that asks for ",
          at::IntArrayRef(sizes),
          " (stream ",
          stream.sizes(),
          ")"),
      "Choose another `chunk_dim`.");
}

}  // namespace

Arithmetic arithmetic_of(const Stack& stack, const Tensor& x) {
  return {
      stack.entry,
      stack.options,
      x,
      range_guard(
          stack.options, x, DeferredChecks::of(stack.blocks, x.device())),
      stack.direction};
}

StreamPair run_streams(
    const Stack& stack, const Arithmetic& arithmetic, StreamPair x) {
  check_values(stack, arithmetic, x[0]);
  const auto segments = segments_of(stack);
  if (stack.direction == Direction::kForward) {
    x = run_segments(stack, arithmetic, segments, std::move(x));
    return run_stored(stack, arithmetic, std::move(x));
  }
  x = run_stored(stack, arithmetic, std::move(x));
  return run_segments(stack, arithmetic, segments, std::move(x));
}

Tensor run_merged(const Stack& stack, const Tensor& x, int64_t dim) {
  const auto arithmetic = arithmetic_of(stack, x);
  const auto halves = x.chunk(2, dim);
  StreamPair streams{arithmetic.enter(halves[0]), arithmetic.enter(halves[1])};
  const auto segments = segments_of(stack);
  const bool inverse = stack.direction == Direction::kInverse;
  if (inverse ? segments.empty() : stack.stored() > 0) {
    const auto y = run_streams(stack, arithmetic, std::move(streams));
    return arithmetic.leave(at::cat({y[0], y[1]}, dim));
  }
  check_values(stack, arithmetic, streams[0]);
  if (inverse) {
    streams = run_stored(stack, arithmetic, std::move(streams));
  }
  streams = run_segments(
      stack,
      arithmetic,
      at::ArrayRef<Range>(segments).slice(0, segments.size() - 1),
      std::move(streams));
  const auto& last = segments.back();
  const auto segment = make_segment(stack, arithmetic, last, streams);
  return arithmetic.leave(apply_merging_end(
      segment,
      last_step(last, stack.direction),
      run_steps(segment, stack, last, std::move(streams)),
      dim));
}

}  // namespace detail
}  // namespace torchrev
