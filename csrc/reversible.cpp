#include <torchrev/reversible.h>

#include "measure/position_wise.h"
#include "stack/checked_run.h"

namespace torchrev {

namespace {

using Pair = std::tuple<Tensor, Tensor>;

Pair as_tuple(detail::StreamPair pair) {
  return {std::move(pair[0]), std::move(pair[1])};
}

}  // namespace

Pair reversible_block(
    const Branch& f,
    const Branch& g,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context,
    const ReversibleOptions& options) {
  const BranchPair block{f, g};
  return as_tuple(detail::checked_run(
      {"reversible_block", block, context, options}, x1, x2));
}

Pair reversible_sequence(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context,
    const ReversibleOptions& options) {
  return as_tuple(detail::checked_run(
      {"reversible_sequence", blocks, context, options}, x1, x2));
}

Tensor reversible_residual(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& x,
    at::TensorList context,
    const ReversibleOptions& options) {
  return detail::checked_residual(
      {"reversible_residual", blocks, context, options}, x);
}

Pair reversible_block_inverse(
    const Branch& f,
    const Branch& g,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context,
    const ReversibleOptions& options) {
  const BranchPair block{f, g};
  return as_tuple(detail::checked_inverse(
      {"reversible_block_inverse", block, context, options}, y1, y2));
}

Pair reversible_sequence_inverse(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context,
    const ReversibleOptions& options) {
  return as_tuple(detail::checked_inverse(
      {"reversible_sequence_inverse", blocks, context, options}, y1, y2));
}

Tensor reversible_residual_inverse(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& y,
    at::TensorList context,
    const ReversibleOptions& options) {
  return detail::checked_residual_inverse(
      {"reversible_residual_inverse", blocks, context, options}, y);
}

void check_position_wise(
    const Branch& branch,
    const Tensor& x,
    int64_t chunks,
    int64_t chunk_dim,
    at::TensorList context) {
  detail::check_position_wise(branch, x, chunks, chunk_dim, context);
}

}  // namespace torchrev
