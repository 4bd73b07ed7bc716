#include <torch/version.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <set>
#include <sstream>

#include "run.h"

namespace torchrev {
namespace test {
namespace differential {
namespace {

// Random programs, each run by the library and by plain autograd. Environment:
//   TORCHREV_PROGRAMS    how many; default 300
//   TORCHREV_FIRST_SEED  the seed of the first; default 0
// One program is run again by TORCHREV_PROGRAMS=1 and its seed.
constexpr int64_t kPrograms = 300;

// Relative to the largest element of a gradient: a rebuilt float32 stream has
// lost some bits of 24, which up to five blocks amplify; 10,000 programs differ
// by up to 2e-5.
constexpr double kFloat32ProgramTolerance = 1e-4;

// A gradient that mathematics makes zero, as that of a bias before a layer
// norm, is rounding alone: below this part of the program's largest gradient,
// an element counts as if it had that magnitude.
constexpr double kCancelled = 1e-2;

// Under bfloat16 autocast a branch rounds its input to 8 bits: where a rebuilt
// float32 stream differs in its last bits, that can round to the neighbour.
constexpr double kBfloat16Tolerance = 1.0 / 32;

int64_t from_environment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::stoll(text) : otherwise;
}

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

std::string difference(
    const Program& program, const Record& actual, const Record& expected) {
  Comparison comparison;
  const auto bit_equal = [](const Tensor& a, const Tensor& e) {
    return BitEqual(a, e);
  };
  comparison.expect(
      expected.error.empty(), "plain autograd threw: " + expected.error);
  comparison.expect(
      actual.error.empty() || !expected.error.empty(),
      "the library threw: " + actual.error);
  comparison.each(actual.outputs, expected.outputs, bit_equal);
  const double cancelled = kCancelled * largest(expected.gradients);
  comparison.each(
      actual.gradients, expected.gradients, [&](const auto& a, const auto& e) {
        return Close(a, e, tolerance(program), cancelled);
      });
  comparison.each(actual.state, expected.state, bit_equal);
  comparison.expect(
      actual.attributes == expected.attributes, "other attributes or modes");
  comparison.expect(
      torch::equal(actual.generator, expected.generator),
      "another state of the CPU generator");
  comparison.expect(
      actual.hook_calls == expected.hook_calls,
      std::to_string(actual.hook_calls) + " calls of hooks instead of " +
          std::to_string(expected.hook_calls));
  return comparison.text();
}

std::string difference(const Program& program) {
  const auto model = build_model(program);
  const auto oracle =
      program.cloned ? clone_model(program, model) : build_model(program);
  const auto expected = run(Way::kPlain, program, oracle);
  const auto actual = run(Way::kReversible, program, model);
  return difference(program, actual, expected);
}

// Whether plain autograd computes one thing only. TorchScript before 2.0 draws
// the mask of a transposed input in one order when it first runs a module with
// grad mode on, and in another order ever after.
bool has_oracle(const Program& program) {
  const auto transposed = [](const InputSpec& input) {
    return input.layout == Layout::kTransposed ||
           input.layout == Layout::kChannelsLast;
  };
  const auto scripted_mask = [](const BranchSpec& branch) {
    return branch.kind == Kind::kScriptDropout && branch.training;
  };
  return TORCH_VERSION_MAJOR >= 2 ||
         std::none_of(
             std::begin(program.inputs),
             std::end(program.inputs),
             transposed) ||
         std::none_of(
             program.branches.begin(), program.branches.end(), scripted_mask);
}

TEST(DifferentialTest, RandomProgramsComputeWhatPlainAutogradComputes) {
  const auto first = from_environment("TORCHREV_FIRST_SEED", 0);
  const auto count = from_environment("TORCHREV_PROGRAMS", kPrograms);
  for (int64_t seed = first; seed < first + count; ++seed) {
    const auto program = draw(static_cast<uint64_t>(seed));
    if (!has_oracle(program)) {
      continue;
    }
    const auto found = difference(program);
    EXPECT_TRUE(found.empty())
        << program << "differs from plain autograd:\n"
        << found
        << "Run it alone with TORCHREV_PROGRAMS=1 TORCHREV_FIRST_SEED=" << seed;
  }
}

TEST(DifferentialTest, ProgramsOfOneRunHaveBranchesOfEveryKind) {
  std::set<Kind> kinds;
  for (uint64_t seed = 0; seed < kPrograms; ++seed) {
    for (const auto& branch : draw(seed).branches) {
      kinds.insert(branch.kind);
    }
  }
  EXPECT_EQ(static_cast<int>(kinds.size()), kKindCount);
}

TEST(DifferentialTest, DrawingAProgramLeavesTheGeneratorAlone) {
  const auto& generator = at::detail::getDefaultCPUGenerator();
  const auto before = generator.get_state();
  draw(0);
  EXPECT_TRUE(torch::equal(generator.get_state(), before));
}

}  // namespace
}  // namespace differential
}  // namespace test
}  // namespace torchrev
