#include "device/capabilities.h"
#include "fake_device/accelerator.h"
#include "fake_device/guard.h"

// Masks are replayed, whichever device draws them.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 8;

class DeviceGeneratorsTest : public AcceleratorTest {
 protected:
  // Drops on the device what comes from anywhere.
  static Branch offloaded(int64_t index = 0) {
    return Branch::function(
        [index](const Tensor& x, at::TensorList, at::TensorList) {
          const auto there = x.to(accelerator(index));
          return torch::dropout(there.tanh(), 0.5, true).to(x.device());
        });
  }
  // The same, with a weight on another device than the streams.
  static Branch abroad(int64_t index) {
    const auto weight = on_accelerator(
        torch::randn({kWidth, kWidth}, at::kDouble).requires_grad_(), index);
    return Branch::function(
        [index](const Tensor& x, at::TensorList, at::TensorList parameters) {
          const auto there = x.to(accelerator(index)).matmul(parameters[0]);
          return torch::dropout(there, 0.5, true).to(x.device());
        },
        {weight});
  }
  static Branch dropping() {
    return torch::nn::Sequential(
        torch::nn::Dropout(0.5), torch::nn::Functional(torch::tanh));
  }
};

TEST_F(DeviceGeneratorsTest, StreamsOnTheCpuWhoseBranchesDrawOnADevice) {
  const Blocks blocks{{offloaded(), dropping()}, {dropping(), offloaded()}};
  EXPECT_TRUE(MatchesPlain(blocks, random_inputs({4, kWidth})));
}

TEST_F(DeviceGeneratorsTest, InverseOfStreamsOnTheCpuReplaysTheDevice) {
  const Blocks blocks{{offloaded(), dropping()}};
  const auto in = random_inputs({4, kWidth});
  torch::manual_seed(1);
  const auto [y1, y2] = reversible_sequence(blocks, in.x1, in.x2);
  weighted_sum({y1, y2}).backward();
  const Tensor after = generator_of(device).get_state().clone();
  torch::manual_seed(1);
  const auto [p1, p2] = plain(blocks)(in);
  EXPECT_TRUE(BitEqual(generator_of(device).get_state(), after));
}

TEST_F(DeviceGeneratorsTest, StreamsOnADeviceWhoseBranchDrawsOnTheCpu) {
  const auto at_home =
      Branch::function([](const Tensor& x, at::TensorList, at::TensorList) {
        return torch::dropout(x.cpu().tanh(), 0.5, true).to(x.device());
      });
  const Blocks blocks{{at_home, dropping()}, {dropping(), at_home}};
  EXPECT_TRUE(MatchesPlain(blocks, on_accelerator(random_inputs({4, kWidth}))));
}

class SeveralDevicesTest : public DeviceGeneratorsTest {
 protected:
  void SetUp() override {
    DeviceGeneratorsTest::SetUp();
    if (!IsSkipped() && !is_fake()) {
      GTEST_SKIP() << "There may be one device only.";
    }
  }
};

TEST_F(SeveralDevicesTest, NumbersThatNoOperatorDrawsOnTheDeviceOfTheStreams) {
  const Blocks blocks{{asking(0), asking(0)}};
  EXPECT_TRUE(MatchesPlain(blocks, on_accelerator(random_inputs({4, kWidth}))));
}

TEST_F(SeveralDevicesTest, NumbersThatNoOperatorDrawsOnTheDeviceOfAParameter) {
  const auto weight = on_accelerator(
      torch::randn({kWidth}, at::kDouble).requires_grad_(), /*index=*/1);
  const Blocks blocks{{asking(1, {weight}), asking(1, {weight})}};
  EXPECT_TRUE(MatchesPlain(blocks, on_accelerator(random_inputs({4, kWidth}))));
}

TEST_F(SeveralDevicesTest, NumbersThatNoOperatorDrawsWhereStreamsAreOnTheCpu) {
  on_accelerator(torch::ones({1}), /*index=*/1);
  const Blocks blocks{{asking(1), asking(1)}};
  EXPECT_TRUE(MatchesPlain(blocks, random_inputs({4, kWidth})));
}

TEST_F(SeveralDevicesTest, StreamsOnTheCpuWhoseBranchesDrawOnSeveralDevices) {
  const Blocks blocks{{offloaded(0), offloaded(1)}, {offloaded(1), dropping()}};
  EXPECT_TRUE(MatchesPlain(blocks, random_inputs({4, kWidth})));
}

// A branch whose weight is on another device draws there.
TEST_F(SeveralDevicesTest, StreamsOnADeviceWhoseBranchesDrawOnAnother) {
  const Blocks blocks{{abroad(1), dropping()}, {abroad(2), abroad(1)}};
  EXPECT_TRUE(MatchesPlain(blocks, on_accelerator(random_inputs({4, kWidth}))));
}

TEST_F(SeveralDevicesTest, DrawOnADeviceThatHasNothingOfTheBranchIsReplayed) {
  const Blocks blocks{{offloaded(1), dropping()}};
  EXPECT_TRUE(MatchesPlain(blocks, on_accelerator(random_inputs({4, kWidth}))));
}

// Each device draws its own numbers.
TEST_F(SeveralDevicesTest, GeneratorsOfSeveralDevicesEndAsInThePlainStack) {
  const Blocks blocks{{offloaded(0), offloaded(1)}};
  const auto in = random_inputs({4, kWidth});
  const auto states_after = [&](const Stack& stack) {
    train(stack, in, {});
    return std::vector<Tensor>{
        generator_of(accelerator(0)).get_state().clone(),
        generator_of(accelerator(1)).get_state().clone()};
  };
  const auto expected = states_after(plain(blocks));
  EXPECT_TRUE(BitEqual(states_after(reversible(blocks)), expected));
}

// What is captured costs nothing where nothing was made.
TEST_F(SeveralDevicesTest, GeneratorOfADeviceThatNobodyUsedIsNotTouched) {
  torch::ones({1}, torch::device(accelerator(0)));
  forget_use(2);
  const auto used = detail::generators_in_use();
  EXPECT_EQ(std::count(used.begin(), used.end(), accelerator(0)), 1);
  EXPECT_EQ(std::count(used.begin(), used.end(), accelerator(2)), 0);
  const auto in = random_inputs({4, kWidth});
  reversible_sequence({{offloaded(), dropping()}}, in.x1, in.x2);
  EXPECT_FALSE(was_used(2));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
