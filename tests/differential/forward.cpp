#include "forward.h"

#include "support/oracle.h"

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

std::vector<Tensor> plain_outputs(
    const Program& program,
    const Model& model,
    const std::vector<Tensor>& x,
    const std::vector<Tensor>& context) {
  const auto& options = program.options;
  if (!program.one_tensor()) {
    return list(plain(model.blocks, options)({x[0], x[1], context}));
  }
  const auto dtype = x[0].scalar_type();
  const auto run = [&](const Tensor& x1, const Tensor& x2) {
    return list(plain_streams(model.blocks, options)({x1, x2, context}));
  };
  const auto& streams = options.streams();
  switch (streams.kind) {
    case Streams::Kind::kDuplicate: {
      const auto y = run(x[0], x[0]);
      return {((y[0] + y[1]) / 2).to(dtype)};
    }
    case Streams::Kind::kVelocity:
      return {run(torch::zeros_like(x[0]), x[0])[1].to(dtype)};
    default: {
      const auto halves = x[0].chunk(2, streams.dim);
      return {at::cat(run(halves[0], halves[1]), streams.dim).to(dtype)};
    }
  }
}

}  // namespace

std::vector<Tensor> outputs(
    Way way,
    const Program& program,
    const Model& model,
    const std::vector<Tensor>& x,
    const std::vector<Tensor>& context) {
  const auto& compute =
      way == Way::kReversible ? reversible_outputs : plain_outputs;
  return compute(program, model, x, context);
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
