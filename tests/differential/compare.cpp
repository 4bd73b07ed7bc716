#include "compare.h"

#include <algorithm>
#include <sstream>

#include "changes.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

// Relative to the largest element of a gradient: a rebuilt float32 stream has
// lost some bits of 24, which up to five blocks amplify; 10,000 programs differ
// by up to 2e-5.
constexpr double kFloat32ProgramTolerance = 1e-4;

// A gradient that mathematics makes zero, as that of a bias before a layer
// norm, is rounding alone: below this part of the program's largest gradient,
// or of 100 if all are small, an element counts as if it had that magnitude.
constexpr double kCancelled = 1e-2;

// Under bfloat16 autocast a branch rounds its input to 8 bits: where a rebuilt
// float32 stream differs in its last bits, that can round to the neighbour.
constexpr double kBfloat16Tolerance = 1.0 / 32;

double tolerance(const Program& program) {
  if (program.autocast) {
    return kBfloat16Tolerance;
  }
  return program.dtype == at::kFloat ? kFloat32ProgramTolerance
                                     : kFloat64Tolerance;
}

double largest(const std::vector<NamedTensor>& tensors) {
  double result = 0;
  for (const auto& item : tensors) {
    if (item.tensor.numel() > 0) {
      result = std::max(result, item.tensor.abs().max().item<double>());
    }
  }
  return result;
}

testing::AssertionResult Close(
    const Tensor& actual,
    const Tensor& expected,
    double tolerance,
    double cancelled) {
  const auto close = AllClose(actual, expected, tolerance);
  const bool rounding =
      !close && actual.sizes() == expected.sizes() &&
      (actual - expected).abs().max().item<double>() <= tolerance * cancelled;
  return rounding ? testing::AssertionSuccess() : close;
}

std::string names(const std::vector<NamedTensor>& tensors) {
  std::string text;
  for (const auto& item : tensors) {
    text += " [" + item.name + "]";
  }
  return text;
}

// Collects what differs between two records.
class Comparison {
 public:
  void expect(bool same, const std::string& what) {
    if (!same) {
      text_ << "  " << what << "\n";
    }
  }

  template <typename Compare>
  void each(
      const std::vector<NamedTensor>& actual,
      const std::vector<NamedTensor>& expected,
      const Compare& compare) {
    expect(
        names(actual) == names(expected),
        "got" + names(actual) + " instead of" + names(expected));
    for (std::size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
      const testing::AssertionResult same =
          compare(actual[i].tensor, expected[i].tensor);
      expect(same, expected[i].name + ": " + same.message());
    }
  }

  std::string text() const {
    return text_.str();
  }

 private:
  std::ostringstream text_;
};

bool is_expected(const Program& program, const std::string& error) {
  const auto errors = expected_errors(program);
  return std::any_of(errors.begin(), errors.end(), [&](const auto& parts) {
    return static_cast<bool>(Mentions(error, parts));
  });
}

// A forward that throws: the same error, and where it was.
bool same_interruption(const Record& actual, const Record& expected) {
  return actual.interruption.compare(
             0, expected.interruption.size(), expected.interruption) == 0 &&
         (expected.interruption.empty() == actual.interruption.empty());
}

void compare_gradients(
    const Program& program,
    const Record& actual,
    const Record& expected,
    Comparison& comparison) {
  const double cancelled =
      kCancelled * std::max(100.0, largest(expected.gradients));
  comparison.each(
      actual.gradients, expected.gradients, [&](const auto& a, const auto& e) {
        return Close(a, e, tolerance(program), cancelled);
      });
  comparison.expect(
      actual.hook_calls == expected.hook_calls,
      std::to_string(actual.hook_calls) + " calls of hooks instead of " +
          std::to_string(expected.hook_calls));
}

// A cast of a part of a stream may lie otherwise in memory, and be summed in
// another order; so are the products of a chunk.
bool has_wider_streams(const BranchSpec& spec) {
  return spec.stack && spec.stack->options.stream_dtype();
}

void compare_forward(
    const Program& program,
    const Record& actual,
    const Record& expected,
    Comparison& comparison) {
  const bool rounds =
      program.in_chunks() || any_branch(program, has_wider_streams);
  const auto same = [&](const Tensor& a, const Tensor& e) {
    return rounds ? AllClose(a, e, tolerance(program)) : BitEqual(a, e);
  };
  comparison.each(actual.outputs, expected.outputs, same);
  comparison.each(actual.state, expected.state, same);
  comparison.expect(
      actual.attributes.size() == expected.attributes.size(),
      "other attributes");
  for (std::size_t i = 0;
       i < std::min(actual.attributes.size(), expected.attributes.size());
       ++i) {
    comparison.expect(
        actual.attributes[i] == expected.attributes[i],
        actual.attributes[i] + " instead of " + expected.attributes[i]);
  }
  comparison.expect(
      static_cast<bool>(BitEqual(actual.generator, expected.generator)),
      "another state of the CPU generator");
  comparison.expect(
      same_interruption(actual, expected),
      "interrupted by: " + actual.interruption +
          "\n  in place of: " + expected.interruption);
}

}  // namespace

std::string difference(
    const Program& program, const Record& actual, const Record& expected) {
  Comparison comparison;
  if (!expected.error.empty()) {
    comparison.expect(
        may_be_refused(program) && expected.in_backward,
        "plain autograd threw: " + expected.error +
            "\n  and the library: " + actual.error);
    // A record of what a buffer held is right whatever it holds now.
    comparison.expect(
        !actual.error.empty() || program.change == Change::kBufferWritten,
        "the library did not throw, but plain autograd: " + expected.error);
    return comparison.text();
  }
  const bool refused =
      !actual.error.empty() && is_expected(program, actual.error);
  comparison.expect(
      actual.error.empty() || refused, "the library threw: " + actual.error);
  if (refused && !actual.in_backward) {
    return comparison.text();
  }
  compare_forward(program, actual, expected, comparison);
  if (!refused) {
    compare_gradients(program, actual, expected, comparison);
  }
  return comparison.text();
}

std::string difference(const Program& program) try {
  const auto model = build_model(program);
  const auto oracle =
      program.cloned ? clone_model(program, model) : build_model(program);
  const auto expected = run(Way::kPlain, program, oracle);
  const auto actual = run(Way::kReversible, program, model);
  return difference(program, actual, expected);
} catch (const std::exception& error) {
  return "  a model cannot be built: " + message_of(error);
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
