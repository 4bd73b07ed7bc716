#include "guards/drift_guard.h"

#include <limits>

#include "support/support.h"

// Compares rebuilt streams with those of forward, at some blocks. (What it
// finds in a whole stack is told by measure/drift_test.cpp.)

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::DriftGuard;
using detail::StreamPair;

constexpr double kTolerance = 0.05;
constexpr auto kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr auto kInfinity = std::numeric_limits<double>::infinity();

// Streams that differ from block to block.
StreamPair streams(int64_t block, double scale = 1) {
  const auto stream = torch::arange(1, 13, at::kDouble).view({3, 4}) + block;
  return {stream * scale, -stream * scale};
}

// Guards blocks [begin, end), whose forward has run.
DriftGuard after_forward(
    int64_t begin, int64_t end, bool rebuilt_first = true) {
  DriftGuard guard("entry", kTolerance, begin, end, rebuilt_first);
  for (auto block = begin; block <= end; ++block) {
    guard.in_forward(block, streams(block));
  }
  return guard;
}

// The blocks of [begin, end] at which other streams are noticed.
std::vector<int64_t> compared(DriftGuard guard, int64_t begin, int64_t end) {
  std::vector<int64_t> blocks;
  for (auto block = begin; block <= end; ++block) {
    try {
      guard.rebuilt(block, streams(block, 2));
    } catch (const c10::ValueError&) {
      blocks.push_back(block);
    }
  }
  return blocks;
}

TEST(DriftGuardFingerprintTest, ComparesFourEvenlySpacedBlocksAlone) {
  EXPECT_EQ(
      compared(after_forward(0, 8), 0, 8), (std::vector<int64_t>{0, 2, 4, 6}));
  EXPECT_EQ(
      compared(after_forward(10, 13), 10, 13),
      (std::vector<int64_t>{10, 11, 12}));
}

TEST(DriftGuardFingerprintTest, PassesOverStreamsThatAreNotRebuilt) {
  EXPECT_EQ(
      compared(after_forward(4, 12, /*rebuilt_first=*/false), 4, 12),
      (std::vector<int64_t>{5, 6, 8, 10}));
}

TEST(DriftGuardFingerprintTest, ErrorNamesTheBlockAndWhatHelps) {
  auto guard = after_forward(0, 8);
  EXPECT_THROW_WITH(
      guard.rebuilt(4, streams(4, 1.5)),
      c10::ValueError,
      "torchrev::entry",
      "before block 4",
      "drift_tolerance = 0.05",
      "but got 0.5",
      "save_every(k)",
      "stream_dtype(torch::kDouble)",
      "fraction_bits(n)");
}

TEST(DriftGuardFingerprintTest, AcceptsDriftUpToItsTolerance) {
  auto guard = after_forward(0, 8);
  EXPECT_NO_THROW(guard.rebuilt(4, streams(4)));
  EXPECT_NO_THROW(guard.rebuilt(4, streams(4, 1.049)));
  EXPECT_THROW(guard.rebuilt(4, streams(4, 1.051)), c10::ValueError);
}

TEST(DriftGuardFingerprintTest, ToleranceItselfIsAccepted) {
  DriftGuard guard("entry", 1, 0, 1, /*rebuilt_first=*/true);
  guard.in_forward(0, streams(0));
  guard.in_forward(1, streams(1));
  // |2 x - x| is |x| to the bit.
  EXPECT_NO_THROW(guard.rebuilt(0, streams(0, 2)));
  EXPECT_THROW(guard.rebuilt(0, streams(0, 2.001)), c10::ValueError);
}

TEST(DriftGuardFingerprintTest, LooksAtBothStreams) {
  for (const int changed : {0, 1}) {
    auto guard = after_forward(0, 8);
    auto pair = streams(2);
    pair[changed] = pair[changed] * 3;
    EXPECT_THROW(guard.rebuilt(2, pair), c10::ValueError) << changed;
  }
}

TEST(DriftGuardFingerprintTest, NaNIsTooMuch) {
  auto guard = after_forward(0, 8);
  EXPECT_THROW_WITH(
      guard.rebuilt(2, streams(2, kNaN)), c10::ValueError, "but got nan");
}

TEST(DriftGuardFingerprintTest, SaysNothingIfForwardWasNotFinite) {
  for (const auto number : {kNaN, kInfinity}) {
    auto guard = after_forward(0, 8);
    guard.in_forward(8, streams(8, number));
    EXPECT_NO_THROW(guard.rebuilt(2, streams(2, kNaN)));
    EXPECT_NO_THROW(guard.rebuilt(2, streams(2, 2)));
  }
}

TEST(DriftGuardFingerprintTest, SaysNothingOfStreamsThatWereZero) {
  auto guard = after_forward(0, 8);
  guard.in_forward(2, streams(2, 0));
  EXPECT_NO_THROW(guard.rebuilt(2, streams(2)));
}

TEST(DriftGuardFingerprintTest, EmptyStreamsPass) {
  const StreamPair empty{torch::ones({0, 4}), torch::ones({0, 4})};
  DriftGuard guard("entry", kTolerance, 0, 2, /*rebuilt_first=*/true);
  for (int64_t block = 0; block <= 2; ++block) {
    guard.in_forward(block, empty);
  }
  EXPECT_NO_THROW(guard.rebuilt(0, empty));
}

// What it keeps is a copy: the streams may be reused.
TEST(DriftGuardFingerprintTest, KeepsValuesNotStreams) {
  DriftGuard guard("entry", kTolerance, 0, 1, /*rebuilt_first=*/true);
  const auto pair = streams(0);
  guard.in_forward(0, pair);
  guard.in_forward(1, pair);
  pair[0].zero_();
  EXPECT_NO_THROW(guard.rebuilt(0, streams(0)));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
