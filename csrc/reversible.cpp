#include <torchrev/reversible.h>

#include <ATen/core/grad_mode.h>

#include "check.h"
#include "reversible_function.h"

namespace torchrev {

namespace {

using detail::Call;
using detail::StreamPair;

StreamPair run_steps(
    const std::shared_ptr<Call>& call,
    at::ArrayRef<BranchPair> blocks,
    Tensor x1,
    Tensor x2,
    at::TensorList context) {
  int64_t step = 0;
  for (const auto& block : blocks) {
    x1 = detail::apply_step(call, block.f, step++, x1, x2, context);
    x2 = detail::apply_step(call, block.g, step++, x2, x1, context);
  }
  return {std::move(x1), std::move(x2)};
}

// What every entry checks first.
void check_call(
    const char* entry,
    at::ArrayRef<BranchPair> blocks,
    at::TensorList context,
    const ReversibleOptions& options) {
  detail::check_blocks(entry, blocks.size());
  detail::check_options(entry, options);
  for (const auto& block : blocks) {
    block.f.select(context);
    block.g.select(context);
  }
}

int64_t steps_of(at::ArrayRef<BranchPair> blocks) {
  return 2 * static_cast<int64_t>(blocks.size());
}

std::tuple<Tensor, Tensor> run(
    const char* entry,
    at::ArrayRef<BranchPair> blocks,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context,
    const ReversibleOptions& options) {
  check_call(entry, blocks, context, options);
  detail::check_streams(entry, "x1", x1, "x2", x2);
  const auto call = std::make_shared<Call>(entry, options, x1, x2);
  auto y = detail::apply_end(
      call, steps_of(blocks), run_steps(call, blocks, x1, x2, context));
  return {std::move(y[0]), std::move(y[1])};
}

Tensor rebuild_addend(
    const char* entry,
    const Branch& branch,
    int64_t step,
    Tensor out,
    const Tensor& other,
    at::TensorList context,
    at::IntArrayRef strides) {
  auto value = detail::checked_branch(
      {entry, step}, other, [&] { return branch(other, context); });
  return detail::difference(std::move(out), std::move(value), strides);
}

StreamPair invert(
    const char* entry,
    at::ArrayRef<BranchPair> blocks,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context,
    const ReversibleOptions& options) {
  at::NoGradGuard no_grad;
  const Call call(entry, options, y1, y2);
  // Aliases of the caller's tensors: their storage is shared, so never reused.
  auto x1 = y1.detach();
  auto x2 = y2.detach();
  for (auto step = steps_of(blocks); step-- > 0;) {
    const auto& block = blocks[step / 2];
    x2 = rebuild_addend(
        entry, block.g, step--, std::move(x2), x1, context, call.strides[1]);
    x1 = rebuild_addend(
        entry, block.f, step, std::move(x1), x2, context, call.strides[0]);
  }
  return {std::move(x1), std::move(x2)};
}

std::tuple<Tensor, Tensor> run_inverse(
    const char* entry,
    at::ArrayRef<BranchPair> blocks,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context,
    const ReversibleOptions& options) {
  check_call(entry, blocks, context, options);
  detail::check_streams(entry, "y1", y1, "y2", y2);
  auto x = invert(entry, blocks, y1, y2, context, options);
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
  return run("reversible_block", {{f, g}}, x1, x2, context, options);
}

std::tuple<Tensor, Tensor> reversible_sequence(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context,
    const ReversibleOptions& options) {
  return run("reversible_sequence", blocks, x1, x2, context, options);
}

Tensor reversible_residual(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& x,
    at::TensorList context,
    const ReversibleOptions& options) {
  constexpr auto entry = "reversible_residual";
  check_call(entry, blocks, context, options);
  const auto streams = options.streams();
  detail::check_residual(entry, "x", x, streams);
  if (streams.kind == Streams::Kind::kDuplicate) {
    const auto y = run(entry, blocks, x, x, context, options);
    return (std::get<0>(y) + std::get<1>(y)) / 2;
  }
  const auto x12 = x.chunk(2, streams.dim);
  const auto call = std::make_shared<Call>(entry, options, x12[0], x12[1]);
  return detail::apply_merging_end(
      call,
      steps_of(blocks),
      run_steps(call, blocks, x12[0], x12[1], context),
      streams.dim);
}

std::tuple<Tensor, Tensor> reversible_block_inverse(
    const Branch& f,
    const Branch& g,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context,
    const ReversibleOptions& options) {
  return run_inverse(
      "reversible_block_inverse", {{f, g}}, y1, y2, context, options);
}

std::tuple<Tensor, Tensor> reversible_sequence_inverse(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context,
    const ReversibleOptions& options) {
  return run_inverse(
      "reversible_sequence_inverse", blocks, y1, y2, context, options);
}

Tensor reversible_residual_inverse(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& y,
    at::TensorList context,
    const ReversibleOptions& options) {
  constexpr auto entry = "reversible_residual_inverse";
  check_call(entry, blocks, context, options);
  const auto streams = options.streams();
  detail::check_residual(entry, "y", y, streams);
  TORCH_CHECK_VALUE(
      streams.kind == Streams::Kind::kSplit,
      "torchrev::",
      entry,
      ": expected split() streams, but got duplicate(): a "
      "mean does not determine a pair. Use the inverse of the two streams.");
  at::NoGradGuard no_grad;
  const auto y12 = y.chunk(2, streams.dim);
  const auto x = invert(entry, blocks, y12[0], y12[1], context, options);
  return at::cat({x[0], x[1]}, streams.dim);
}

}  // namespace torchrev
