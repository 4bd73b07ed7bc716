#include <torchrev/ops.h>

#include <torchrev/reversible.h>

#include "ops/scripted_blocks.h"

namespace torchrev {
namespace ops {

using torch::jit::Module;

std::tuple<Tensor, Tensor> reversible_block(
    const Module& f,
    const Module& g,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context,
    const ReversibleOptions& options) {
  const auto block = detail::scripted_block("reversible_block", f, g, context);
  return torchrev::reversible_block(block.f, block.g, x1, x2, context, options);
}

std::tuple<Tensor, Tensor> reversible_block_inverse(
    const Module& f,
    const Module& g,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context,
    const ReversibleOptions& options) {
  const auto block =
      detail::scripted_block("reversible_block_inverse", f, g, context);
  return torchrev::reversible_block_inverse(
      block.f, block.g, y1, y2, context, options);
}

std::tuple<Tensor, Tensor> reversible_sequence(
    const Module& blocks,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context,
    const ReversibleOptions& options) {
  return torchrev::reversible_sequence(
      detail::scripted_blocks("reversible_sequence", blocks, context),
      x1,
      x2,
      context,
      options);
}

std::tuple<Tensor, Tensor> reversible_sequence_inverse(
    const Module& blocks,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context,
    const ReversibleOptions& options) {
  return torchrev::reversible_sequence_inverse(
      detail::scripted_blocks("reversible_sequence_inverse", blocks, context),
      y1,
      y2,
      context,
      options);
}

Tensor reversible_residual(
    const Module& blocks,
    const Tensor& x,
    at::TensorList context,
    const ReversibleOptions& options) {
  return torchrev::reversible_residual(
      detail::scripted_blocks("reversible_residual", blocks, context),
      x,
      context,
      options);
}

Tensor reversible_residual_inverse(
    const Module& blocks,
    const Tensor& y,
    at::TensorList context,
    const ReversibleOptions& options) {
  return torchrev::reversible_residual_inverse(
      detail::scripted_blocks("reversible_residual_inverse", blocks, context),
      y,
      context,
      options);
}

}  // namespace ops
}  // namespace torchrev
