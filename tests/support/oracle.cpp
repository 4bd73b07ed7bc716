#include "support/oracle.h"

#include <cmath>

namespace torchrev {
namespace test {

namespace {

struct Rounding : torch::autograd::Function<Rounding> {
  static Tensor forward(
      torch::autograd::AutogradContext*, const Tensor& x, int64_t bits) {
    const auto unit = std::ldexp(1.0, -static_cast<int>(bits));
    return (x / unit).round() * unit;
  }
  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext*,
      const torch::autograd::variable_list& grads) {
    return {grads[0], Tensor()};
  }
};

}  // namespace

Tensor round_straight_through(const Tensor& x, int64_t bits) {
  return Rounding::apply(x, bits);
}

Stack plain(const Blocks& blocks, const ReversibleOptions& options) {
  return [stack = plain_streams(blocks, options)](const Inputs& inputs) {
    const auto dtype = inputs.x1.scalar_type();
    const auto [y1, y2] = stack(inputs);
    return std::make_tuple(y1.to(dtype), y2.to(dtype));
  };
}

Stack plain_streams(const Blocks& blocks, const ReversibleOptions& options) {
  return [=](const Inputs& inputs) {
    const auto coupling = options.coupling();
    const auto dtype = inputs.x1.scalar_type();
    const auto wide = options.stream_dtype().value_or(dtype);
    const auto rounded = [&](const Tensor& x) {
      const auto bits = options.fraction_bits();
      return bits ? round_straight_through(x.to(wide), *bits) : x;
    };
    const auto step = [&](const Tensor& x,
                          const Branch& branch,
                          const Tensor& other,
                          const StepId& id) {
      const auto value = branch(other.to(dtype), inputs.context);
      return coupling == additive_coupling()
                 ? x + rounded(value)
                 : coupling->forward(x, value.to(wide), other, id);
    };
    auto x1 = rounded(inputs.x1.to(wide));
    auto x2 = rounded(inputs.x2.to(wide));
    int64_t number = 0;
    for (const auto& block : blocks) {
      x1 = step(x1, block.f, x2, {number, Role::kF});
      x2 = step(x2, block.g, x1, {number, Role::kG});
      ++number;
    }
    return std::make_tuple(x1, x2);
  };
}

namespace {

struct Steps {
  Step actual;
  Step expected;
};

Steps steps_of(
    const Blocks& blocks,
    const Inputs& inputs,
    const ReversibleOptions& options) {
  const auto parameters = parameters_of(blocks);
  return {
      train(reversible(blocks, options), inputs, parameters),
      train(plain(blocks, options), inputs, parameters)};
}

}  // namespace

testing::AssertionResult MatchesOracle(
    const Blocks& blocks,
    const Inputs& inputs,
    const ReversibleOptions& options,
    double tolerance) {
  const auto [actual, expected] = steps_of(blocks, inputs, options);
  return Matches(actual, expected, tolerance);
}

testing::AssertionResult MatchesWhole(
    const Blocks& blocks,
    const Inputs& inputs,
    const ReversibleOptions& options,
    double tolerance) {
  const auto [actual, expected] = steps_of(blocks, inputs, options);
  const auto outputs = AllClose(actual.outputs, expected.outputs, tolerance);
  return outputs ? AllClose(actual.gradients, expected.gradients, tolerance)
                 : outputs;
}

testing::AssertionResult EqualsOracle(
    const Blocks& blocks,
    const Inputs& inputs,
    const ReversibleOptions& options) {
  const auto [actual, expected] = steps_of(blocks, inputs, options);
  const auto outputs = BitEqual(actual.outputs, expected.outputs);
  return outputs ? BitEqual(actual.gradients, expected.gradients) : outputs;
}

Blocks unnormalised_blocks(int64_t depth, int64_t width, at::ScalarType dtype) {
  const auto branch = [&] {
    torch::nn::Sequential layers(
        torch::nn::Linear(width, width), torch::nn::ReLU());
    layers->to(dtype);
    return layers;
  };
  Blocks blocks;
  for (int64_t i = 0; i < depth; ++i) {
    blocks.push_back({branch(), branch()});
  }
  return blocks;
}

}  // namespace test
}  // namespace torchrev
