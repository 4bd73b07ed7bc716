#include "guards/deferred_check.h"

#include "check.h"
#include "support/support.h"

// Checks of numbers that a device computes. (Those that arrive later are told
// of by fake_device/deferred_check_device_test.cpp.)

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::check_all;
using detail::submit_check;

void refuse(double number) {
  TORCHREV_CHECK(
      ValueError, false, "entry", "another number", c10::str(number));
}

TEST(DeferredCheckTest, OnTheCpuRunsAtOnceWithTheNumber) {
  std::vector<double> numbers;
  const auto note = [&numbers](double number) { numbers.push_back(number); };
  submit_check(torch::full({}, 1.5), note);
  EXPECT_EQ(numbers, (std::vector<double>{1.5}));
  submit_check(torch::full({1}, 3, at::kLong), note);
  submit_check(torch::full({}, true, at::kBool), note);
  EXPECT_EQ(numbers, (std::vector<double>{1.5, 3, 1}));
}

TEST(DeferredCheckTest, OnTheCpuItsErrorIsThrownBySubmitCheck) {
  EXPECT_THROW_WITH(
      submit_check(torch::full({}, 2.5), refuse),
      c10::ValueError,
      "torchrev::entry",
      "2.5");
}

TEST(DeferredCheckTest, AfterAnErrorNothingIsLeftToThrow) {
  EXPECT_THROW(submit_check(torch::ones({}), refuse), c10::ValueError);
  EXPECT_NO_THROW(check_all());
}

TEST(DeferredCheckTest, CpuNeedsNoOwner) {
  const Blocks blocks = mlp_blocks(1, 3);
  EXPECT_FALSE(detail::DeferredChecks::of(blocks, at::kCPU));
}

TEST(DeferredCheckTest, MetaTensorsArePassedOver) {
  EXPECT_NO_THROW(submit_check(torch::ones({}, at::kMeta), refuse));
  EXPECT_NO_THROW(check_all());
}

TEST(DeferredCheckTest, CheckMaySubmitAnother) {
  int checks = 0;
  submit_check(torch::ones({}), [&checks](double) {
    submit_check(torch::ones({}), [&checks](double) { ++checks; });
    check_all();
    ++checks;
  });
  EXPECT_EQ(checks, 2);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
