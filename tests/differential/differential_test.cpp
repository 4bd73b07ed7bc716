#include <torch/version.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <set>

#include "compare.h"

namespace torchrev {
namespace test {
namespace differential {
namespace {

// Random programs, each run by the library and by plain autograd. Environment:
//   TORCHREV_PROGRAMS    how many; default 300
//   TORCHREV_FIRST_SEED  the seed of the first; default 0
// One program is run again by TORCHREV_PROGRAMS=1 and its seed.
constexpr int64_t kPrograms = 300;

int64_t from_environment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::stoll(text) : otherwise;
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
         !any_branch(program, scripted_mask);
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
    for_each_branch(draw(seed), [&](const BranchSpec& branch) {
      kinds.insert(branch.kind);
    });
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
