#include "forward.h"

#include "plain.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

std::vector<Tensor> list(const std::tuple<Tensor, Tensor>& y) {
  return {std::get<0>(y), std::get<1>(y)};
}

nn::ReversibleSequential as_module(const Program& program, const Model& model) {
  nn::ReversibleSequential stack(program.options);
  for (const auto& block : model.blocks) {
    stack->push_back(block.f, block.g);
  }
  return stack;
}

std::vector<Tensor> reversible_outputs(
    const Program& program,
    const Model& model,
    const std::vector<Tensor>& x,
    const std::vector<Tensor>& context) {
  const auto& options = program.options;
  const auto& blocks = model.blocks;
  switch (program.entry) {
    case Entry::kBlock:
      return list(reversible_block(
          blocks[0].f, blocks[0].g, x[0], x[1], context, options));
    case Entry::kSequence:
      return list(reversible_sequence(blocks, x[0], x[1], context, options));
    case Entry::kResidual:
      return {reversible_residual(blocks, x[0], context, options)};
    case Entry::kModule:
      return {as_module(program, model)->forward(x[0], context)};
    default:
      return list(
          as_module(program, model)->forward_streams(x[0], x[1], context));
  }
}

// The same of the inverse.
std::vector<Tensor> reversible_inputs(
    const Program& program,
    const Model& model,
    const std::vector<Tensor>& y,
    const std::vector<Tensor>& context) {
  const auto& options = program.options;
  const auto& blocks = model.blocks;
  switch (program.entry) {
    case Entry::kBlock:
      return list(reversible_block_inverse(
          blocks[0].f, blocks[0].g, y[0], y[1], context, options));
    case Entry::kSequence:
      return list(
          reversible_sequence_inverse(blocks, y[0], y[1], context, options));
    case Entry::kResidual:
      return {reversible_residual_inverse(blocks, y[0], context, options)};
    case Entry::kModule:
      return {as_module(program, model)->inverse(y[0], context)};
    default:
      return list(
          as_module(program, model)->inverse_streams(y[0], y[1], context));
  }
}

std::vector<Tensor> plain_outputs(
    const Program& program,
    const Model& model,
    bool inverse,
    const std::vector<Tensor>& x,
    const std::vector<Tensor>& context) {
  const Within within(Way::kPlain);
  const PlainStack stack{model.blocks, program.options, inverse};
  if (program.one_tensor()) {
    return {stack.residual(x[0], context)};
  }
  return stack.streams(x[0], x[1], context);
}

}  // namespace

std::vector<Tensor> outputs(
    Way way,
    const Program& program,
    const Model& model,
    bool inverse,
    const std::vector<Tensor>& x,
    const std::vector<Tensor>& context) {
  if (way == Way::kPlain) {
    return plain_outputs(program, model, inverse, x, context);
  }
  return inverse ? reversible_inputs(program, model, x, context)
                 : reversible_outputs(program, model, x, context);
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
