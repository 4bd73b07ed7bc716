#include "fake_device/accelerator.h"

// What a stack computes on an accelerator.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 64;

class ReversibleDeviceTest : public AcceleratorTest {
 protected:
  void SetUp() override {
    AcceleratorTest::SetUp();
    if (!IsSkipped()) {
      blocks = on_accelerator(blocks);
      inputs = on_accelerator(inputs);
    }
  }

  static Branch dropping() {
    torch::nn::Sequential module(
        torch::nn::Linear(kWidth, kWidth), torch::nn::Dropout(0.5));
    module->to(at::kDouble);
    return module;
  }

  Blocks blocks = {{mlp(kWidth), dropping()}, {dropping(), mlp(kWidth)}};
  Inputs inputs = random_inputs({32, kWidth});
};

TEST_F(ReversibleDeviceTest, GradientMatchesPlainAutograd) {
  EXPECT_TRUE(MatchesPlain(blocks, inputs));
}

TEST_F(ReversibleDeviceTest, ForwardOnASideStreamMatchesPlain) {
  const auto parameters = parameters_of(blocks);
  const auto expected = train(plain(blocks), inputs, parameters);
  const auto on_side = [this](const Inputs& in) {
    synchronize();
    const SideStream side(device);
    auto y = reversible_sequence(blocks, in.x1, in.x2);
    synchronize();
    return y;
  };
  EXPECT_TRUE(
      Matches(train(on_side, inputs, parameters), expected, kFloat64Tolerance));
}

// Each block draws a stream of its own, so that steps of one backward pass run
// on different streams and the relay has to order them.
TEST_F(ReversibleDeviceTest, StepsOnDifferentStreamsAreOrdered) {
  const auto slow = [](const Branch& branch) {
    return Branch::function(
        [branch](const Tensor& x, at::TensorList, at::TensorList) {
          const SideStream side(x.device());
          synchronize();
          auto y = branch(x).tanh();
          synchronize();
          return y;
        });
  };
  const auto tanh = Branch::function(
      [](const Tensor& x, at::TensorList, at::TensorList) { return x.tanh(); });
  const Blocks several(6, BranchPair{slow(tanh), tanh});
  EXPECT_TRUE(MatchesPlain(several, inputs));
}

TEST_F(ReversibleDeviceTest, GeneratorStateAfterAStepIsThatOfThePlainStack) {
  const auto generator = at::globalContext().defaultGenerator(device);
  const auto parameters = parameters_of(blocks);
  train(plain(blocks), inputs, parameters);
  const Tensor expected = generator.get_state();
  train(reversible(blocks), inputs, parameters);
  EXPECT_TRUE(BitEqual(generator.get_state(), expected));
}

// The number travels with an asynchronous copy: backward waits for nothing.
TEST_F(ReversibleDeviceTest, DriftThrowsOnRequest) {
  const auto unsteady =
      Branch::function([calls = std::make_shared<double>()](
                           const Tensor& x, at::TensorList, at::TensorList) {
        return x.tanh() + 10 * (*calls)++;
      });
  const Blocks drifting{{unsteady, blocks[0].g}};
  EXPECT_NO_THROW(train(
      reversible(drifting, ReversibleOptions().verify_first_call(false)),
      inputs,
      parameters_of(drifting)));
  EXPECT_THROW_WITH(check_deferred(), c10::ValueError, "drift_tolerance");
  EXPECT_NO_THROW(check_deferred());
}

TEST_F(ReversibleDeviceTest, LeavingTheExactRangeThrowsOnRequest) {
  const auto large =
      Branch::function([](const Tensor& x, at::TensorList, at::TensorList) {
        return torch::full_like(x, 5000);
      });
  const Blocks leaving{{large, blocks[0].g}};
  EXPECT_NO_THROW(
      reversible(leaving, ReversibleOptions().fraction_bits(40))(inputs));
  EXPECT_THROW_WITH(
      check_deferred(), c10::ValueError, "F of block 0", "fraction_bits");
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
