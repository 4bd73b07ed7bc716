#include "guards/range_guard.h"

#include <limits>

#include "support/support.h"

// Checks that streams stay where the grid of fraction_bits is exact.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::Place;
using detail::range_guard;

const Place kInput{"entry"};
const Place kStep{"entry", StepId{3, Role::kF}};

// Of float32 streams: exact below 2^(23 - bits).
detail::StreamCheck guard_of(int64_t bits) {
  return range_guard(ReversibleOptions().fraction_bits(bits), torch::ones({1}));
}

Tensor with(double number) {
  auto stream = torch::ones({2, 3});
  stream[1][2] = number;
  return stream;
}

TEST(RangeGuardTest, IsNullWithoutFractionBits) {
  EXPECT_FALSE(range_guard(ReversibleOptions(), torch::ones({1})));
  EXPECT_TRUE(guard_of(12));
}

TEST(RangeGuardTest, PassesMagnitudesBelowTheLimit) {
  const auto guard = guard_of(13);
  EXPECT_NO_THROW(guard(kStep, with(1023.9)));
  EXPECT_NO_THROW(guard(kStep, with(-1023.9)));
  EXPECT_THROW(guard(kStep, with(1024)), c10::ValueError);
  EXPECT_THROW(guard(kStep, with(-1024)), c10::ValueError);
}

TEST(RangeGuardTest, ErrorSaysWhereAndHowManyBitsWouldHold) {
  const auto guard = guard_of(13);
  EXPECT_THROW_WITH(
      guard(kStep, with(-1500)),
      c10::ValueError,
      "torchrev::entry",
      "streams below 1024 in magnitude, where fraction_bits = 13 is exact",
      "but got 1500 after F of block 3",
      "fraction_bits(12) would hold it, or stream_dtype(torch::kDouble)");
  EXPECT_THROW_WITH(
      guard(kInput, with(5000)),
      c10::ValueError,
      "but got 5000 in the input",
      "fraction_bits(10) would hold it");
}

TEST(RangeGuardTest, BitsThatItNamesHold) {
  for (const double largest : {1024.0, 1500.0, 2048.0, 99999.0}) {
    try {
      guard_of(20)(kStep, with(largest));
      ADD_FAILURE() << largest;
    } catch (const c10::ValueError& error) {
      const auto text = message_of(error);
      const std::string named = "fraction_bits(";
      const auto bits =
          std::stoll(text.substr(text.find(named) + named.size()));
      EXPECT_NO_THROW(guard_of(bits)(kStep, with(largest))) << text;
      EXPECT_THROW(guard_of(bits + 1)(kStep, with(largest)), c10::ValueError)
          << text;
    }
  }
}

TEST(RangeGuardTest, SaysToNormaliseWhereNoBitsWouldHold) {
  EXPECT_THROW_WITH(
      guard_of(1)(kStep, with(1e9)),
      c10::ValueError,
      "Normalise the branches, or use stream_dtype(torch::kDouble)");
}

TEST(RangeGuardTest, WiderStreamsHoldMore) {
  const auto options =
      ReversibleOptions().fraction_bits(13).stream_dtype(at::kDouble);
  const auto guard = range_guard(options, torch::ones({1}));
  EXPECT_NO_THROW(guard(kStep, with(5e11).to(at::kDouble)));
  EXPECT_THROW(guard(kStep, with(5.6e11).to(at::kDouble)), c10::ValueError);
}

TEST(RangeGuardTest, EmptyStreamsPass) {
  EXPECT_NO_THROW(guard_of(13)(kStep, torch::ones({0, 3})));
}

// That shows by itself, and loss scalers make such streams on purpose.
TEST(RangeGuardTest, StreamsThatAreNotFinitePass) {
  for (const auto number :
       {std::numeric_limits<double>::quiet_NaN(),
        std::numeric_limits<double>::infinity(),
        -std::numeric_limits<double>::infinity()}) {
    EXPECT_NO_THROW(guard_of(13)(kStep, with(number))) << number;
  }
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
