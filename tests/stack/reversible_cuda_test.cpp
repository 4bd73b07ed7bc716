#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/cuda.h>

#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 64;

// Reported as skipped where there is no CUDA device.
class ReversibleCudaTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!torch::cuda::is_available()) {
      GTEST_SKIP() << "There is no CUDA device.";
    }
    for (auto& block : blocks) {
      block = {block.f.clone(device), block.g.clone(device)};
    }
    inputs = {on_device(inputs.x1), on_device(inputs.x2), {}};
  }
  Tensor on_device(const Tensor& x) const {
    return x.detach().to(device).requires_grad_();
  }

  static Branch dropping() {
    torch::nn::Sequential module(
        torch::nn::Linear(kWidth, kWidth), torch::nn::Dropout(0.5));
    module->to(at::kDouble);
    return module;
  }

  c10::Device device{at::kCUDA, 0};
  Blocks blocks = {{mlp(kWidth), dropping()}, {dropping(), mlp(kWidth)}};
  Inputs inputs = random_inputs({32, kWidth});
};

// Runs what is called while it lives on another stream of the device.
class SideStream {
 public:
  explicit SideStream(const c10::Device& device)
      : guard_(device.type()),
        before_(guard_.exchangeStream(guard_.getStreamFromGlobalPool(device))) {
  }
  ~SideStream() {
    guard_.exchangeStream(before_);
  }

 private:
  c10::impl::VirtualGuardImpl guard_;
  c10::Stream before_;
};

TEST_F(ReversibleCudaTest, GradientMatchesPlainAutograd) {
  EXPECT_TRUE(MatchesPlain(blocks, inputs));
}

TEST_F(ReversibleCudaTest, ForwardOnASideStreamMatchesPlain) {
  const auto parameters = parameters_of(blocks);
  const auto expected = train(plain(blocks), inputs, parameters);
  const auto on_side = [this](const Inputs& in) {
    torch::cuda::synchronize();
    const SideStream side(device);
    auto y = reversible_sequence(blocks, in.x1, in.x2);
    torch::cuda::synchronize();
    return y;
  };
  EXPECT_TRUE(
      Matches(train(on_side, inputs, parameters), expected, kFloat64Tolerance));
}

// Each block draws a stream of its own, so that steps of one backward pass run
// on different streams and the relay has to order them.
TEST_F(ReversibleCudaTest, StepsOnDifferentStreamsAreOrdered) {
  const auto slow = [this](const Branch& branch) {
    return Branch::function(
        [branch](const Tensor& x, at::TensorList, at::TensorList) {
          const SideStream side(x.device());
          torch::cuda::synchronize();
          auto y = branch(x).tanh();
          torch::cuda::synchronize();
          return y;
        });
  };
  const auto tanh = Branch::function(
      [](const Tensor& x, at::TensorList, at::TensorList) { return x.tanh(); });
  const Blocks several(6, BranchPair{slow(tanh), tanh});
  EXPECT_TRUE(MatchesPlain(several, inputs));
}

TEST_F(ReversibleCudaTest, GeneratorStateAfterAStepIsThatOfThePlainStack) {
  const auto generator = at::globalContext().defaultGenerator(device);
  const auto parameters = parameters_of(blocks);
  train(plain(blocks), inputs, parameters);
  const Tensor expected = generator.get_state();
  train(reversible(blocks), inputs, parameters);
  EXPECT_TRUE(BitEqual(generator.get_state(), expected));
}

// A verdict travels with an asynchronous copy: backward waits for nothing.
TEST_F(ReversibleCudaTest, DriftThrowsOnRequest) {
  const auto unsteady =
      Branch::function([calls = std::make_shared<double>()](
                           const Tensor& x, at::TensorList, at::TensorList) {
        return x.tanh() + 10 * (*calls)++;
      });
  const Blocks drifting{{unsteady, blocks[0].g}};
  EXPECT_NO_THROW(train(reversible(drifting), inputs, parameters_of(drifting)));
  EXPECT_THROW_WITH(check_deferred(), c10::ValueError, "drift_tolerance");
  EXPECT_NO_THROW(check_deferred());
}

TEST_F(ReversibleCudaTest, LeavingTheExactRangeThrowsOnRequest) {
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
