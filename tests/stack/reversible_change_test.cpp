#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

using Parameters = at::TensorList;

// What a recompute would get silently wrong is an error: tensors that were not
// declared, and tensors that changed between forward and backward.
class ReversibleUndeclaredTest : public testing::Test {
 protected:
  Inputs inputs = random_inputs({3, kWidth});
  Tensor hidden = torch::randn({kWidth}, at::kDouble).requires_grad_();
};

TEST_F(ReversibleUndeclaredTest, FunctionThrowsAtItsFirstCall) {
  const Tensor captured = hidden;
  const Branch branch =
      Branch::function([captured](const Tensor& x, at::TensorList, Parameters) {
        return x * captured;
      });
  EXPECT_THROW_WITH(
      reversible_block(branch, mlp(kWidth), inputs.x1, inputs.x2),
      c10::Error,
      "requires grad",
      "parameters");
}

TEST_F(ReversibleUndeclaredTest, FunctionOfConstantsThrowsAtItsFirstCall) {
  const Tensor captured = hidden;
  const Branch branch =
      Branch::function([captured](const Tensor& x, at::TensorList, Parameters) {
        return x * captured;
      });
  EXPECT_THROW_WITH(
      reversible_block(branch, branch, inputs.x1.detach(), inputs.x2.detach()),
      c10::Error,
      "requires grad");
}

TEST_F(ReversibleUndeclaredTest, FunctionThatCapturesANonLeafThrows) {
  const Tensor captured = hidden.sin();
  const Branch branch =
      Branch::function([captured](const Tensor& x, at::TensorList, Parameters) {
        return x * captured;
      });
  EXPECT_THROW_WITH(
      reversible_block(branch, mlp(kWidth), inputs.x1, inputs.x2),
      c10::Error,
      "requires grad");
  captured.sum().backward();
  EXPECT_TRUE(hidden.grad().defined()) << "the graph of the capture broke";
}

struct HidingImpl : torch::nn::Module {
  explicit HidingImpl(const Tensor& hidden) : hidden(hidden) {}
  Tensor forward(const Tensor& x) {
    return x * hidden;
  }
  Tensor hidden;
};
TORCH_MODULE(Hiding);

TEST_F(ReversibleUndeclaredTest, ModuleThrowsAtTheLatestInBackward) {
  const Blocks blocks = {{Hiding(hidden), mlp(kWidth)}};
  EXPECT_THROW_WITH(
      train(reversible(blocks), inputs, {}),
      c10::Error,
      "requires grad",
      "Register it with the module");
}

TEST_F(ReversibleUndeclaredTest, FrozenCaptureIsAConstant) {
  const Tensor captured = hidden.detach();
  const Branch branch =
      Branch::function([captured](const Tensor& x, at::TensorList, Parameters) {
        return x * captured;
      });
  EXPECT_TRUE(MatchesPlain({{branch, mlp(kWidth)}}, inputs));
}

// With LibTorch's own message, as for any operator that saved the tensor.
testing::AssertionResult BackwardFindsInPlaceChange(const Tensor& loss) {
  try {
    loss.backward();
  } catch (const c10::Error& error) {
    return Mentions(message_of(error), {"modified by an inplace operation"});
  }
  return testing::AssertionFailure() << "threw nothing";
}

class ReversibleChangeTest : public testing::Test {
 protected:
  ReversibleChangeTest() {
    std::tie(y1, y2) = reversible_sequence(
        {{f.context(), mlp(kWidth)}, {mlp(kWidth), mlp(kWidth)}},
        inputs.x1,
        inputs.x2,
        {context});
  }

  Tensor weight = torch::randn({kWidth, kWidth}, at::kDouble).requires_grad_();
  Tensor context = torch::randn({kWidth}, at::kDouble);
  Inputs inputs = random_inputs({3, kWidth});
  Branch f = Branch::function(
      [](const Tensor& x, at::TensorList context, Parameters parameters) {
        return x.matmul(parameters[0]) + context[0];
      },
      {weight});
  Tensor y1, y2;
};

TEST_F(ReversibleChangeTest, UnchangedRunsBackward) {
  weighted_sum({y1, y2}).backward();
  EXPECT_TRUE(weight.grad().defined());
}

TEST_F(ReversibleChangeTest, ThrowsWhenParameterWasWrittenInPlace) {
  {
    torch::NoGradGuard no_grad;
    weight.mul_(2);
  }
  EXPECT_THROW_WITH(
      weighted_sum({y1, y2}).backward(), c10::Error, "in place", "parameter");
}

TEST_F(ReversibleChangeTest, ThrowsWhenOptimizerStepped) {
  // Not SGD: that of the C++ frontend writes through data(), which raises no
  // version, so that plain autograd misses it, too.
  torch::optim::Adam optimizer({weight});
  weight.mutable_grad() = torch::ones_like(weight);
  optimizer.step();
  EXPECT_THROW_WITH(weighted_sum({y1, y2}).backward(), c10::Error, "in place");
}

TEST_F(ReversibleChangeTest, ThrowsWhenContextWasWrittenInPlace) {
  context.add_(1);
  EXPECT_TRUE(BackwardFindsInPlaceChange(weighted_sum({y1, y2})));
}

TEST_F(ReversibleChangeTest, ThrowsWhenParameterWasFrozen) {
  weight.set_requires_grad(false);
  EXPECT_THROW_WITH(
      weighted_sum({y1, y2}).backward(), c10::Error, "requires_grad");
}

TEST_F(ReversibleChangeTest, ThrowsWhenOutputWasWrittenInPlace) {
  const Tensor loss = weighted_sum({y1, y2});
  {
    torch::NoGradGuard no_grad;
    y1.add_(1);
  }
  EXPECT_TRUE(BackwardFindsInPlaceChange(loss));
}

TEST_F(ReversibleChangeTest, ThrowsWhenMergedOutputWasWrittenInPlace) {
  const auto blocks = mlp_blocks(2, kWidth);
  const Tensor x = torch::randn({3, 2 * kWidth}, at::kDouble).requires_grad_();
  const Tensor y = reversible_residual(blocks, x);
  const Tensor loss = y.sum();
  {
    torch::NoGradGuard no_grad;
    y.add_(1);
  }
  EXPECT_TRUE(BackwardFindsInPlaceChange(loss));
}

TEST_F(ReversibleChangeTest, ErrorsInBackwardLeaveTheStackUsable) {
  {
    torch::NoGradGuard no_grad;
    weight.mul_(2);
  }
  EXPECT_ANY_THROW(weighted_sum({y1, y2}).backward());
  inputs.context = {context};
  EXPECT_TRUE(MatchesPlain({{f.context(), mlp(kWidth)}}, inputs));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
