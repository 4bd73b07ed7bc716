#include "fake_device/accelerator.h"

// A stream that is captured, as for a CUDA graph, runs nothing: whoever waits
// for it, or asks for an event, spoils the capture. AcceleratorTest fails then.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 8;

class CaptureTest : public FakeDeviceTest {
 protected:
  void SetUp() override {
    FakeDeviceTest::SetUp();
    if (!IsSkipped() && !kKnowsCaptures) {
      GTEST_SKIP() << "This release does not tell that a stream is captured.";
    }
    if (!IsSkipped()) {
      blocks = on_accelerator(blocks);
      inputs = on_accelerator(inputs);
      synchronize();
    }
  }
  void capture(const std::function<void()>& fn) {
    const SideStream side(device);
    timeline().begin_capture(lane_of(side.stream()));
    fn();
    timeline().end_capture();
    synchronize();
  }
  std::function<void()> step(const ReversibleOptions& options = {}) {
    return [this, options] {
      const auto [y1, y2] =
          reversible_sequence(blocks, inputs.x1, inputs.x2, {}, options);
      weighted_sum({y1, y2}).backward();
    };
  }

  Blocks blocks = mlp_blocks(3, kWidth);
  Inputs inputs = random_inputs({4, kWidth});
};

TEST_F(CaptureTest, StepIsCapturedWithItsGuardsOn) {
  step()();
  synchronize();
  capture(step());
  check_deferred();
}

TEST_F(CaptureTest, StepOnAGridIsCaptured) {
  const auto options = ReversibleOptions().fraction_bits(20);
  step(options)();
  synchronize();
  capture(step(options));
  check_deferred();
}

// Numbers are on their way when the capture begins.
TEST_F(CaptureTest, CaptureDoesNotAskForWhatCameBefore) {
  const auto options = ReversibleOptions().fraction_bits(20);
  step(options)();
  timeline().begin_capture({0, 0});
  step(options)();
  timeline().end_capture();
}

TEST_F(CaptureTest, CheckDeferredWithinACaptureIsAnErrorThatLosesNothing) {
  const auto options = ReversibleOptions().fraction_bits(51);
  reversible_sequence(blocks, inputs.x1, inputs.x2, {}, options);
  timeline().begin_capture({0, 0});
  EXPECT_THROW_WITH(check_deferred(), c10::ValueError, "captured");
  timeline().end_capture();
  EXPECT_THROW_WITH(check_deferred(), c10::ValueError, "fraction_bits");
}

TEST_F(CaptureTest, BranchThatDrawsInACaptureIsAnError) {
  const Branch dropping = torch::nn::Dropout(0.5);
  blocks = {{dropping, dropping}};
  step()();
  synchronize();
  timeline().begin_capture({0, 0});
  EXPECT_THROW_WITH(step()(), c10::ValueError, "captured", "as context");
  timeline().end_capture();
}

// An error before a capture comes after it.
TEST_F(CaptureTest, ChecksBeforeACaptureAreReportedAfterIt) {
  const auto options = ReversibleOptions().fraction_bits(51);
  reversible_sequence(blocks, inputs.x1, inputs.x2, {}, options);
  synchronize();
  capture(step());
  EXPECT_THROW_WITH(
      reversible_sequence(blocks, inputs.x1, inputs.x2, {}, options),
      c10::ValueError,
      "fraction_bits");
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
