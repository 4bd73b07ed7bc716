#include <cstdlib>

#include "threads.h"

namespace torchrev {
namespace test {
namespace differential {
namespace {

// Random programs in threads. Environment:
//   TORCHREV_THREAD_PROGRAMS   how many; default 0
//   TORCHREV_FIRST_SEED        the seed of the first; default 0
int64_t from_environment(const char* name) {
  const char* text = std::getenv(name);
  return text ? std::stoll(text) : 0;
}

class ThreadProgramsTest : public testing::TestWithParam<Sharing> {};

TEST_P(ThreadProgramsTest, ComputeWhatPlainAutogradComputes) {
  const auto first = from_environment("TORCHREV_FIRST_SEED");
  const auto count = from_environment("TORCHREV_THREAD_PROGRAMS");
  for (int64_t seed = first; seed < first + count; ++seed) {
    const auto number = static_cast<uint64_t>(seed);
    const auto found = difference_in_threads(number, GetParam());
    EXPECT_TRUE(found.empty())
        << for_threads(draw(number), GetParam())
        << "differs from plain autograd:\n"
        << found << "Run it alone with TORCHREV_THREAD_PROGRAMS=1 "
        << "TORCHREV_FIRST_SEED=" << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sharing,
    ThreadProgramsTest,
    testing::Values(Sharing::kNothing, Sharing::kReplicas, Sharing::kModel),
    [](const auto& info) -> std::string {
      return info.param == Sharing::kNothing    ? "nothing"
             : info.param == Sharing::kReplicas ? "replicas"
                                                : "one_model";
    });

}  // namespace
}  // namespace differential
}  // namespace test
}  // namespace torchrev
