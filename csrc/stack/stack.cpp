#include "stack/stack.h"

#include <ATen/WrapDimUtils.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <array>
#include <vector>

#include "branch/checked_call.h"
#include "guards/drift_guard.h"
#include "guards/range_guard.h"
#include "recompute/chunks.h"
#include "stack/end.h"
#include "stack/segment.h"
#include "stack/step.h"
#include "tensors.h"

namespace torchrev {
namespace detail {

namespace {

// Blocks [begin, end) of a stack.
struct Range {
  int64_t begin;
  int64_t end;
};

// The blocks that are rebuilt in backward, cut into segments.
std::vector<Range> segments_of(const Stack& stack) {
  const auto end = stack.depth() - stack.stored();
  const auto length = stack.options.save_every() > 0
                          ? stack.options.save_every()
                          : stack.depth();
  std::vector<Range> segments;
  for (int64_t begin = 0; begin < end; begin += length) {
    segments.push_back({begin, std::min(begin + length, end)});
  }
  return segments;
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
    const std::shared_ptr<Segment>& segment,
    const Stack& stack,
    const Range& range,
    StreamPair x) {
  for (auto i = range.begin; i < range.end; ++i) {
    segment->relay.in_forward(i, x);
    const auto& [f, g] = stack.blocks[i];
    x[0] = apply_step(segment, {i, Role::kF}, f, x[0], x[1], stack.context);
    x[1] = apply_step(segment, {i, Role::kG}, g, x[1], x[0], stack.context);
  }
  segment->relay.in_forward(range.end, x);
  return x;
}

std::shared_ptr<Segment> make_segment(
    const Stack& stack,
    const Arithmetic& arithmetic,
    const Range& range,
    const StreamPair& x) {
  auto segment =
      std::make_shared<Segment>(stack.entry, stack.options, arithmetic, x);
  segment->relay.observe(observer_of(stack, range, x));
  return segment;
}

StepId last_step(const Range& range) {
  return {range.end - 1, Role::kG};
}

StreamPair run_segments(
    const Stack& stack,
    const Arithmetic& arithmetic,
    at::ArrayRef<Range> segments,
    StreamPair x) {
  for (const auto& range : segments) {
    const auto segment = make_segment(stack, arithmetic, range, x);
    x = run_steps(segment, stack, range, std::move(x));
    x = apply_end(segment, last_step(range), x);
  }
  return x;
}

const Branch& branch_of(const Stack& stack, const StepId& step) {
  const auto& block = stack.blocks[step.block];
  return step.role == Role::kF ? block.f : block.g;
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
            [&] { return branch(part, stack.context); });
      });
}

// The last blocks, which keep their activations.
StreamPair run_stored(
    const Stack& stack, const Arithmetic& arithmetic, StreamPair x) {
  for (auto block = stack.depth() - stack.stored(); block < stack.depth();
       ++block) {
    for (const auto role : {Role::kF, Role::kG}) {
      const StepId step{block, role};
      x.changed_by(role) = arithmetic.couple(
          {stack.entry, step},
          x.changed_by(role),
          value_of(stack, arithmetic, step, x.read_by(role)),
          x.read_by(role));
    }
  }
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
  return {stack.entry, stack.options, x, range_guard(stack.options, x)};
}

StreamPair run_streams(
    const Stack& stack, const Arithmetic& arithmetic, StreamPair x) {
  check_values(stack, arithmetic, x[0]);
  return run_stored(
      stack,
      arithmetic,
      run_segments(stack, arithmetic, segments_of(stack), std::move(x)));
}

Tensor run_merged(const Stack& stack, const Tensor& x, int64_t dim) {
  const auto arithmetic = arithmetic_of(stack, x);
  const auto halves = x.chunk(2, dim);
  StreamPair streams{arithmetic.enter(halves[0]), arithmetic.enter(halves[1])};
  if (stack.stored() > 0) {
    const auto y = run_streams(stack, arithmetic, std::move(streams));
    return arithmetic.leave(at::cat({y[0], y[1]}, dim));
  }
  check_values(stack, arithmetic, streams[0]);
  const auto segments = segments_of(stack);
  streams = run_segments(
      stack,
      arithmetic,
      at::ArrayRef<Range>(segments).slice(0, segments.size() - 1),
      std::move(streams));
  const auto& last = segments.back();
  const auto segment = make_segment(stack, arithmetic, last, streams);
  return arithmetic.leave(apply_merging_end(
      segment,
      last_step(last),
      run_steps(segment, stack, last, std::move(streams)),
      dim));
}

StreamPair invert(const Stack& stack, const Tensor& y1, const Tensor& y2) {
  const at::NoGradGuard no_grad;
  const auto arithmetic = arithmetic_of(stack, y1);
  check_values(stack, arithmetic, y1);
  // Aliases of the caller's tensors share their storage, which is not reused.
  StreamPair streams{
      arithmetic.enter(y1.detach()), arithmetic.enter(y2.detach())};
  const std::array<std::vector<int64_t>, 2> strides{
      layout_of(streams[0]), layout_of(streams[1])};
  for (auto block = stack.depth(); block-- > 0;) {
    for (const auto role : {Role::kG, Role::kF}) {
      const StepId step{block, role};
      auto value = value_of(stack, arithmetic, step, streams.read_by(role));
      auto& out = streams.changed_by(role);
      out = arithmetic.separate(
          {stack.entry, step},
          std::move(out),
          std::move(value),
          streams.read_by(role),
          strides[stream_changed_by(role)]);
    }
  }
  return {arithmetic.leave(streams[0]), arithmetic.leave(streams[1])};
}

}  // namespace detail
}  // namespace torchrev
