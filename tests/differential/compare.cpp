#include "compare.h"

#include <algorithm>
#include <iterator>
#include <sstream>

#include "changes.h"
#include "rounded.h"
#include "support/oracle.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

// Relative to the largest element of a gradient: a rebuilt float32 stream has
// lost some bits of 24, which up to five blocks amplify; 10,000 programs differ
// by up to 2e-5.
constexpr double kFloat32ProgramTolerance = 1e-4;

// A gradient that mathematics makes zero, as that of a bias before a layer
// norm, is rounding alone: below this part of the program's largest gradient an
// element counts as if it had that magnitude.
constexpr double kCancelled = 1e-2;

// A difference is rounding if it is at most so many times what plain autograd
// itself makes of rounding; see Rounded.
constexpr double kTimesRounding = 16;

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

bool is_within(const Tensor& actual, const Tensor& expected, double distance) {
  return actual.sizes() == expected.sizes() && actual.numel() > 0 &&
         (actual - expected).abs().max().item<double>() <= distance;
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

// Errors that tell of rounding, where there is so much of it.
std::vector<std::vector<std::string>> errors_of_rounding(
    const Program& program, Rounded& rounded) {
  constexpr double kRangeOfFloat = 0x1p14;
  constexpr double kDrifts = 1e-3;
  std::vector<std::vector<std::string>> errors;
  if (rounded.largest_stream() > kRangeOfFloat) {
    errors.push_back({"torchrev::", "where fraction_bits", "is exact"});
  }
  if (program.dtype == at::kFloat && rounded.change() > kDrifts) {
    errors.push_back({"torchrev::", "drift_tolerance"});
  }
  return errors;
}

bool is_expected(
    const Program& program, const std::string& error, Rounded& rounded) {
  auto errors = expected_errors(program);
  const auto more = errors_of_rounding(program, rounded);
  errors.insert(errors.end(), more.begin(), more.end());
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

std::vector<NamedTensor> without_zeros(
    const std::vector<NamedTensor>& gradients) {
  std::vector<NamedTensor> rest;
  std::copy_if(
      gradients.begin(),
      gradients.end(),
      std::back_inserter(rest),
      [](const NamedTensor& item) {
        return item.tensor.count_nonzero().item<int64_t>() > 0;
      });
  return rest;
}

// Whether a gradient of a TorchScript branch is zero or undefined depends on
// how often its executor has run it.
bool may_be_zero_or_undefined(
    const Program& program, const Record& actual, const Record& expected) {
  return names(actual.gradients) != names(expected.gradients) &&
         any_branch(program, [](const BranchSpec& spec) {
           return is_scripted(spec.kind);
         });
}

void compare_gradients(
    const Program& program,
    Record actual,
    Record expected,
    Rounded& rounded,
    Comparison& comparison) {
  const double cancelled = std::max(
      tolerance(program) * kCancelled * largest(expected.gradients),
      rounded.of_zero());
  const bool drops_zeros = may_be_zero_or_undefined(program, actual, expected);
  if (drops_zeros) {
    actual.gradients = without_zeros(actual.gradients);
    expected.gradients = without_zeros(expected.gradients);
  }
  comparison.each(
      actual.gradients, expected.gradients, [&](const auto& a, const auto& e) {
        const auto same = AllClose(a, e, tolerance(program));
        const bool rounding =
            !same &&
            (is_within(a, e, cancelled) ||
             is_within(a, e, kTimesRounding * rounded.change() * largest(e)));
        return rounding ? testing::AssertionSuccess() : same;
      });
  comparison.expect(
      drops_zeros || actual.hook_calls == expected.hook_calls,
      std::to_string(actual.hook_calls) + " calls of hooks instead of " +
          std::to_string(expected.hook_calls));
}

// A cast of a part of a stream may lie otherwise in memory, and be summed in
// another order; so are the products of a chunk.
bool has_wider_streams(const BranchSpec& spec) {
  return spec.stack && spec.stack->options.stream_dtype();
}

bool has_stack(const BranchSpec& spec) {
  return spec.stack != nullptr;
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
  // So may the streams of a stack within a branch.
  const bool state_rounds = rounds || any_branch(program, has_stack);
  comparison.each(
      actual.state, expected.state, [&](const Tensor& a, const Tensor& e) {
        return state_rounds ? AllClose(a, e, tolerance(program))
                            : BitEqual(a, e);
      });
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

// Whether the library may compute what plain autograd refuses: a record of what
// a buffer held is right whatever it holds now, and a stack within a block that
// is kept saves its own streams.
bool may_go_on(const Program& program) {
  return program.change == Change::kBufferWritten ||
         (program.change == Change::kOutputWritten &&
          program.options.store_last() > 0 && any_branch(program, has_stack));
}

}  // namespace

std::string difference(
    const Program& program,
    const Record& actual,
    const Record& expected,
    double largest,
    const std::function<Record()>& run_plain) {
  Rounded rounded(program, expected, largest, run_plain);
  Comparison comparison;
  if (!expected.error.empty()) {
    comparison.expect(
        may_be_refused(program) && expected.in_backward,
        "plain autograd threw: " + expected.error +
            "\n  and the library: " + actual.error);
    comparison.expect(
        !actual.error.empty() || may_go_on(program),
        "the library did not throw, but plain autograd: " + expected.error);
    return comparison.text();
  }
  const bool refused =
      !actual.error.empty() && is_expected(program, actual.error, rounded);
  comparison.expect(
      actual.error.empty() || refused, "the library threw: " + actual.error);
  if (refused && !actual.in_backward) {
    return comparison.text();
  }
  compare_forward(program, actual, expected, comparison);
  if (!refused) {
    compare_gradients(program, actual, expected, rounded, comparison);
  }
  return comparison.text();
}

std::string difference(const Program& program) try {
  const auto model = build_model(program);
  const auto oracle =
      program.cloned ? clone_model(program, model) : build_model(program);
  const Disturbance none(0);
  const auto expected = run(Way::kPlain, program, oracle);
  const auto actual = run(Way::kReversible, program, model);
  drop_auxiliaries(model);
  return difference(program, actual, expected, none.largest(), [&] {
    return run(Way::kPlain, program, build_model(program));
  });
} catch (const std::exception& error) {
  return "  a model cannot be built: " + message_of(error);
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
