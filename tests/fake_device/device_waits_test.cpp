#include "fake_device/accelerator.h"
#include "support/oracle.h"

// Forward and backward never wait for the device. (The first call of a branch
// does, which compares two runs of it.)

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 8;

class DeviceWaitsTest : public FakeDeviceTest {
 protected:
  void SetUp() override {
    FakeDeviceTest::SetUp();
    if (!IsSkipped()) {
      blocks = on_accelerator(blocks);
      inputs = on_accelerator(inputs);
    }
  }
  // Of a step that is not the first.
  int64_t waits(const Stack& stack) {
    const auto step = [&] {
      const auto [y1, y2] = stack(inputs);
      weighted_sum({y1, y2}).backward();
    };
    step();
    return waits_of(step);
  }

  Blocks blocks = {
      {mlp(kWidth), normed(kWidth)},
      {normed(kWidth), mlp(kWidth)},
      {mlp(kWidth), normed(kWidth)}};
  Inputs inputs = random_inputs({8, kWidth});
};

TEST_F(DeviceWaitsTest, StepDoesNotWait) {
  EXPECT_EQ(waits(plain(blocks)), 0);
  EXPECT_EQ(waits(reversible(blocks)), 0);
  EXPECT_EQ(waits(reversible_inverse(blocks)), 0);
}

TEST_F(DeviceWaitsTest, StepDoesNotWaitWhateverTheOptions) {
  for (const auto& some : {
           ReversibleOptions().fraction_bits(20),
           ReversibleOptions().save_every(1),
           ReversibleOptions().store_last(1),
           ReversibleOptions().chunks_f(2).chunks_g(2).chunk_dim(0),
           ReversibleOptions().stream_dtype(at::kDouble),
           ReversibleOptions().coupling(momentum_coupling(0.5)),
           ReversibleOptions().mutable_buffers(true),
           ReversibleOptions().preserve_rng_state(false),
       }) {
    EXPECT_EQ(waits(reversible(blocks, some)), 0);
    EXPECT_EQ(waits(reversible_inverse(blocks, some)), 0);
  }
}

TEST_F(DeviceWaitsTest, SecondDerivativeDoesNotWait) {
  const auto penalty = [this](const Inputs& in) {
    const auto [y1, y2] = reversible_sequence(blocks, in.x1, in.x2);
    const auto first = torch::autograd::grad(
        {weighted_sum({y1, y2})},
        {in.x1, in.x2},
        {},
        /*retain_graph=*/true,
        /*create_graph=*/true);
    return std::make_tuple(first[0], first[1]);
  };
  EXPECT_EQ(waits(penalty), 0);
}

TEST_F(DeviceWaitsTest, OneTensorInsteadOfTwoStreamsDoesNotWait) {
  for (const auto& options : {
           ReversibleOptions().split(0),
           ReversibleOptions().duplicate(),
           ReversibleOptions().velocity(),
       }) {
    const auto residual = [&](const Inputs& in) {
      const auto y = reversible_residual(blocks, in.x1, {}, options);
      return std::make_tuple(y, y);
    };
    EXPECT_EQ(waits(residual), 0);
  }
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
