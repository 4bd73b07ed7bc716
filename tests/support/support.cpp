#include "support/support.h"

#include <sstream>

namespace torchrev {
namespace test {
namespace {

std::string describe(const Tensor& tensor) {
  if (!tensor.defined()) {
    return "an undefined tensor";
  }
  std::ostringstream text;
  text << tensor.scalar_type() << tensor.sizes();
  return text.str();
}

testing::AssertionResult SameKind(
    const Tensor& actual, const Tensor& expected) {
  const bool same =
      actual.defined() == expected.defined() &&
      (!actual.defined() || (actual.sizes() == expected.sizes() &&
                             actual.scalar_type() == expected.scalar_type()));
  if (same) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure()
         << describe(actual) << " instead of " << describe(expected);
}

using Compare =
    std::function<testing::AssertionResult(const Tensor&, const Tensor&)>;

testing::AssertionResult compare_each(
    const std::vector<Tensor>& actual,
    const std::vector<Tensor>& expected,
    const Compare& compare) {
  if (actual.size() != expected.size()) {
    return testing::AssertionFailure()
           << actual.size() << " tensors instead of " << expected.size();
  }
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (const auto result = compare(actual[i], expected[i]); !result) {
      return testing::AssertionFailure()
             << "tensor " << i << ": " << result.message();
    }
  }
  return testing::AssertionSuccess();
}

double largest_magnitude(const Tensor& tensor) {
  return tensor.numel() == 0
             ? 0.0
             : tensor.abs().max().to(at::kDouble).item<double>();
}

}  // namespace

testing::AssertionResult AllClose(
    const Tensor& actual, const Tensor& expected, double tolerance) {
  const auto same = SameKind(actual, expected);
  if (!same || !actual.defined()) {
    return same;
  }
  const double difference =
      largest_magnitude((actual - expected).detach().to(at::kDouble));
  const double scale = largest_magnitude(expected.detach());
  // Written so that a difference of NaN fails.
  if (difference <= tolerance * scale) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure()
         << "largest difference " << difference << " at a largest magnitude of "
         << scale << " exceeds the relative tolerance " << tolerance;
}

testing::AssertionResult AllClose(
    const std::vector<Tensor>& actual,
    const std::vector<Tensor>& expected,
    double tolerance) {
  return compare_each(
      actual, expected, [tolerance](const Tensor& a, const Tensor& e) {
        return AllClose(a, e, tolerance);
      });
}

testing::AssertionResult BitEqual(
    const Tensor& actual, const Tensor& expected) {
  const auto same = SameKind(actual, expected);
  if (!same || !actual.defined() || torch::equal(actual, expected)) {
    return same;
  }
  return testing::AssertionFailure()
         << (actual != expected).sum().item<int64_t>() << " of "
         << actual.numel() << " elements differ, by up to "
         << largest_magnitude((actual - expected).detach());
}

testing::AssertionResult BitEqual(
    const std::vector<Tensor>& actual, const std::vector<Tensor>& expected) {
  return compare_each(actual, expected, [](const Tensor& a, const Tensor& e) {
    return BitEqual(a, e);
  });
}

testing::AssertionResult GradientMatchesCentralDifference(
    const std::function<Tensor()>& fn, const std::vector<Tensor>& variables) {
  // Rounding of fn, some 1e-15, is divided by the width of the step.
  constexpr double kStep = 1e-5;
  constexpr double kTolerance = 1e-8;
  const auto gradients = torch::autograd::grad({fn()}, variables);
  std::vector<Tensor> differences;
  torch::NoGradGuard no_grad;
  for (const Tensor& variable : variables) {
    differences.push_back(torch::empty_like(variable));
    double* value = variable.data_ptr<double>();
    double* difference = differences.back().data_ptr<double>();
    for (int64_t i = 0; i < variable.numel(); ++i) {
      const double at = value[i];
      value[i] = at + kStep;
      const double above = fn().item<double>();
      value[i] = at - kStep;
      difference[i] = (above - fn().item<double>()) / (2 * kStep);
      value[i] = at;
    }
  }
  return AllClose(gradients, differences, kTolerance);
}

std::string message_of(const std::exception& error) {
  const auto* with_backtrace = dynamic_cast<const c10::Error*>(&error);
  return with_backtrace ? with_backtrace->what_without_backtrace()
                        : error.what();
}

testing::AssertionResult Mentions(
    const std::string& message, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    if (message.find(part) == std::string::npos) {
      return testing::AssertionFailure()
             << "\"" << part << "\" is not in \"" << message << "\"";
    }
  }
  return testing::AssertionSuccess();
}

testing::AssertionResult HasErrorForm(
    const std::string& message, const std::vector<std::string>& parts) {
  const auto entry = message.find("torchrev::");
  const auto expected = message.find(": expected ", entry);
  const auto got = message.find(", but got ", expected);
  if (got == std::string::npos) {
    return testing::AssertionFailure()
           << "\"" << message << "\" has not the form \"torchrev::<entry>: "
           << "expected <condition>, but got <value>\"";
  }
  return Mentions(message, parts);
}

Inputs random_inputs(at::IntArrayRef shape, at::ScalarType dtype) {
  const auto options = at::TensorOptions(dtype).requires_grad(true);
  return {torch::randn(shape, options), torch::randn(shape, options), {}};
}

Stack plain(const Blocks& blocks) {
  return [blocks](const Inputs& inputs) {
    return additive_coupling_sequence(
        blocks, inputs.x1, inputs.x2, inputs.context);
  };
}

Stack reversible(const Blocks& blocks, const ReversibleOptions& options) {
  return [blocks, options](const Inputs& inputs) {
    return reversible_sequence(
        blocks, inputs.x1, inputs.x2, inputs.context, options);
  };
}

Tensor weighted_sum(const std::vector<Tensor>& outputs) {
  Tensor sum;
  for (const Tensor& output : outputs) {
    const auto weights = torch::arange(
        1, output.numel() + 1, output.options().dtype(at::kDouble));
    const auto weighted =
        output * (weights.sin() + 0.1).to(output).view(output.sizes());
    sum =
        sum.defined() ? sum + weighted.sum().to(sum.device()) : weighted.sum();
  }
  return sum;
}

Step train(
    const Stack& stack,
    const Inputs& inputs,
    const std::vector<Tensor>& parameters) {
  torch::manual_seed(0);
  Step step;
  {
    auto [y1, y2] = stack(inputs);
    step.outputs = {y1.detach().clone(), y2.detach().clone()};
    weighted_sum({y1, y2}).backward();
  }
  std::vector<Tensor> leaves = {inputs.x1, inputs.x2};
  leaves.insert(leaves.end(), inputs.context.begin(), inputs.context.end());
  leaves.insert(leaves.end(), parameters.begin(), parameters.end());
  for (Tensor& leaf : leaves) {
    step.gradients.push_back(leaf.defined() ? leaf.grad() : Tensor());
    if (leaf.defined()) {
      leaf.mutable_grad() = Tensor();
    }
  }
  return step;
}

testing::AssertionResult Matches(
    const Step& actual, const Step& expected, double tolerance) {
  if (const auto same = BitEqual(actual.outputs, expected.outputs); !same) {
    return testing::AssertionFailure() << "outputs: " << same.message();
  }
  const auto close = AllClose(actual.gradients, expected.gradients, tolerance);
  if (!close) {
    return testing::AssertionFailure()
           << "gradients of x1, x2, context and parameters: "
           << close.message();
  }
  return close;
}

testing::AssertionResult MatchesPlain(
    const Blocks& blocks,
    const Inputs& inputs,
    double tolerance,
    const ReversibleOptions& options) {
  const auto parameters = parameters_of(blocks);
  const Step expected = train(plain(blocks), inputs, parameters);
  const Step actual = train(reversible(blocks, options), inputs, parameters);
  return Matches(actual, expected, tolerance);
}

}  // namespace test
}  // namespace torchrev
