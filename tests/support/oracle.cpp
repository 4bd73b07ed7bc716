#include "support/oracle.h"

#include <algorithm>
#include <cmath>
#include <utility>

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

// Of the Disturbance that lives in this thread.
thread_local double noise_now = 0;
thread_local double phase_now = 0;
thread_local double largest_now = 0;

// Draws no random numbers, which branches count on.
Tensor noise_like(const Tensor& x) {
  const at::NoGradGuard no_grad;
  const auto i = torch::arange(x.numel(), at::kDouble);
  return (noise_now * (i * 2.399963 + phase_now).sin())
      .to(x.scalar_type())
      .view(x.sizes());
}

}  // namespace

Disturbance::Disturbance(double noise, double phase)
    : noise_(std::exchange(noise_now, noise)),
      phase_(std::exchange(phase_now, phase)),
      largest_(std::exchange(largest_now, 0)) {}

Disturbance::~Disturbance() {
  noise_now = noise_;
  phase_now = phase_;
  largest_now = largest_;
}

double Disturbance::largest() const {
  return largest_now;
}

Tensor as_seen(const Tensor& x) {
  if (x.numel() > 0) {
    const auto largest = x.detach().abs().max().item<double>();
    largest_now = std::max(largest_now, largest);
  }
  return noise_now == 0 ? x : x + noise_like(x);
}

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

namespace {

// The arithmetic of a stack over streams of its options.
struct PlainSteps {
  const ReversibleOptions& options;
  const Inputs& inputs;

  Tensor enter(const Tensor& x) const {
    return rounded(x.to(wide()));
  }
  Tensor step(
      const Tensor& x,
      const Branch& branch,
      const Tensor& other,
      const StepId& id) const {
    const auto value = value_of(branch, other);
    return is_additive()
               ? x + rounded(value)
               : options.coupling()->forward(x, value.to(wide()), other, id);
  }
  Tensor inverse_step(
      const Tensor& y,
      const Branch& branch,
      const Tensor& other,
      const StepId& id) const {
    const auto value = value_of(branch, other);
    return is_additive()
               ? y - rounded(value)
               : options.coupling()->inverse(y, value.to(wide()), other, id);
  }

 private:
  at::ScalarType wide() const {
    return options.stream_dtype().value_or(inputs.x1.scalar_type());
  }
  bool is_additive() const {
    return options.coupling() == additive_coupling();
  }
  Tensor rounded(const Tensor& x) const {
    const auto bits = options.fraction_bits();
    return bits ? round_straight_through(x.to(wide()), *bits) : x;
  }
  Tensor value_of(const Branch& branch, const Tensor& other) const {
    return branch(as_seen(other.to(inputs.x1.scalar_type())), inputs.context);
  }
};

}  // namespace

Stack plain_streams(const Blocks& blocks, const ReversibleOptions& options) {
  return [=](const Inputs& inputs) {
    const PlainSteps plain{options, inputs};
    auto x1 = plain.enter(inputs.x1);
    auto x2 = plain.enter(inputs.x2);
    int64_t number = 0;
    for (const auto& block : blocks) {
      x1 = plain.step(x1, block.f, x2, {number, Role::kF});
      x2 = plain.step(x2, block.g, x1, {number, Role::kG});
      ++number;
    }
    return std::make_tuple(x1, x2);
  };
}

Stack reversible_inverse(
    const Blocks& blocks, const ReversibleOptions& options) {
  return [=](const Inputs& inputs) {
    return reversible_sequence_inverse(
        blocks, inputs.x1, inputs.x2, inputs.context, options);
  };
}

Stack plain_inverse(const Blocks& blocks, const ReversibleOptions& options) {
  return [=](const Inputs& inputs) {
    const PlainSteps plain{options, inputs};
    auto y1 = plain.enter(inputs.x1);
    auto y2 = plain.enter(inputs.x2);
    for (auto number = static_cast<int64_t>(blocks.size()); number-- > 0;) {
      const auto& block = blocks[number];
      y2 = plain.inverse_step(y2, block.g, y1, {number, Role::kG});
      y1 = plain.inverse_step(y1, block.f, y2, {number, Role::kF});
    }
    const auto dtype = inputs.x1.scalar_type();
    return std::make_tuple(y1.to(dtype), y2.to(dtype));
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

testing::AssertionResult InverseMatchesOracle(
    const Blocks& blocks,
    const Inputs& inputs,
    const ReversibleOptions& options,
    double tolerance) {
  const auto parameters = parameters_of(blocks);
  return Matches(
      train(reversible_inverse(blocks, options), inputs, parameters),
      train(plain_inverse(blocks, options), inputs, parameters),
      tolerance);
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
