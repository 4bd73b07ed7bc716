#include <torchrev/torchrev.h>

#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

// Inputs in every shape and layout that a user may have.
class AutogradInputsTest : public testing::Test {
 protected:
  // `make` turns two leaves into what goes into the stack.
  void expect_matches_plain(
      const Blocks& blocks,
      at::IntArrayRef leaf_shape,
      const std::function<Inputs(const Tensor&, const Tensor&)>& make) {
    const Inputs leaves = random_inputs(leaf_shape);
    const auto made = [&make](const Stack& stack) -> Stack {
      return [&make, stack](const Inputs& in) {
        return stack(make(in.x1, in.x2));
      };
    };
    EXPECT_TRUE(Matches(
        train(made(reversible(blocks)), leaves, parameters_of(blocks)),
        train(made(plain(blocks)), leaves, parameters_of(blocks)),
        kFloat64Tolerance));
  }
};

TEST_F(AutogradInputsTest, Views) {
  expect_matches_plain(
      mlp_blocks(2, kWidth),
      {3, 2 * kWidth},
      [](const Tensor& a, const Tensor& b) {
        return Inputs{a.narrow(1, 0, kWidth), b.narrow(1, kWidth, kWidth), {}};
      });
}

TEST_F(AutogradInputsTest, HalvesOfOneTensor) {
  expect_matches_plain(
      mlp_blocks(2, kWidth),
      {3, 2 * kWidth},
      [](const Tensor& a, const Tensor&) {
        const auto halves = a.chunk(2, -1);
        return Inputs{halves[0], halves[1], {}};
      });
}

TEST_F(AutogradInputsTest, Expanded) {
  expect_matches_plain(
      mlp_blocks(2, kWidth), {1, kWidth}, [](const Tensor& a, const Tensor& b) {
        return Inputs{a.expand({3, kWidth}), b.expand({3, kWidth}), {}};
      });
}

TEST_F(AutogradInputsTest, Transposed) {
  expect_matches_plain(
      mlp_blocks(2, kWidth), {kWidth, 3}, [](const Tensor& a, const Tensor& b) {
        return Inputs{a.t(), b.t(), {}};
      });
}

TEST_F(AutogradInputsTest, ChannelsLast) {
  expect_matches_plain(
      conv_blocks(2, kWidth),
      {2, kWidth, 3, 5},
      [](const Tensor& a, const Tensor& b) {
        return Inputs{
            a.contiguous(at::MemoryFormat::ChannelsLast),
            b.contiguous(at::MemoryFormat::ChannelsLast),
            {}};
      });
}

// A view that is possible in one layout only: the recompute sees that layout.
TEST_F(AutogradInputsTest, BranchThatViewsAPermutedInput) {
  const Branch viewing =
      Branch::function([](const Tensor& x, at::TensorList, at::TensorList) {
        // [N, C, H, W], channels last -> [N, H W, C]
        const auto flat = x.permute({0, 2, 3, 1}).view({2, 15, kWidth});
        return flat.tanh().view({2, 3, 5, kWidth}).permute({0, 3, 1, 2});
      });
  const Branch contiguous =
      Branch::function([](const Tensor& x, at::TensorList, at::TensorList) {
        return x.sin().contiguous();
      });
  expect_matches_plain(
      {{viewing, viewing}, {viewing, viewing}},
      {2, kWidth, 3, 5},
      [](const Tensor& a, const Tensor& b) {
        return Inputs{
            a.contiguous(at::MemoryFormat::ChannelsLast),
            b.contiguous(at::MemoryFormat::ChannelsLast),
            {}};
      });
  // F's result has another layout than its input, and so has G's.
  const Branch any = linear(5);
  const auto x = torch::randn({2, kWidth, 3, 5}, at::kDouble);
  const auto [y1, y2] = reversible_sequence(
      {{contiguous, viewing}, {contiguous, viewing}},
      x.contiguous(at::MemoryFormat::ChannelsLast).requires_grad_(),
      x.contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_NO_THROW((y1 * y2).sum().backward());
}

// Dropout draws in the order of memory, and a half of the merged output has
// another order than the stream that went into it.
TEST_F(AutogradInputsTest, MergedOutputOfATransposedInputReplaysItsMasks) {
  const Blocks blocks = {
      {linear(5), torch::nn::Dropout(0.5)}, {linear(5), torch::nn::Dropout()}};
  const Tensor leaf = torch::randn({4, 5, 6}, at::kDouble).requires_grad_();
  const auto gradient = [&](const std::function<Tensor(const Tensor&)>& run) {
    torch::manual_seed(0);
    const Tensor loss = weighted_sum({run(leaf.transpose(1, 2))});
    return torch::autograd::grad({loss}, {leaf})[0];
  };
  const auto residual = [&](const Tensor& x) {
    return reversible_residual(blocks, x, {}, ReversibleOptions().split(1));
  };
  const auto oracle = [&](const Tensor& x) {
    const auto halves = x.chunk(2, 1);
    const auto [y1, y2] =
        additive_coupling_sequence(blocks, halves[0], halves[1]);
    return torch::cat({y1, y2}, 1);
  };
  EXPECT_TRUE(
      AllClose(gradient(residual), gradient(oracle), kFloat64Tolerance));
}

TEST_F(AutogradInputsTest, LastBranchMayViewItsInput) {
  const Branch flat =
      Branch::function([](const Tensor& x, at::TensorList, at::TensorList) {
        return x.view({-1}).tanh().view({3, kWidth});
      });
  const Tensor x = torch::randn({3, 2 * kWidth}, at::kDouble).requires_grad_();
  const Tensor y = reversible_residual({{linear(kWidth), flat}}, x);
  EXPECT_NO_THROW(weighted_sum({y}).backward());
}

TEST_F(AutogradInputsTest, Empty) {
  expect_matches_plain(
      mlp_blocks(2, kWidth), {0, kWidth}, [](const Tensor& a, const Tensor& b) {
        return Inputs{a, b, {}};
      });
}

TEST_F(AutogradInputsTest, SameTensorForBothStreams) {
  expect_matches_plain(
      mlp_blocks(2, kWidth), {3, kWidth}, [](const Tensor& a, const Tensor&) {
        return Inputs{a, a, {}};
      });
}

TEST_F(AutogradInputsTest, OneInputConstant) {
  for (const bool first : {true, false}) {
    expect_matches_plain(
        mlp_blocks(2, kWidth),
        {3, kWidth},
        [first](const Tensor& a, const Tensor& b) {
          return Inputs{first ? a.detach() : a, first ? b : b.detach(), {}};
        });
  }
}

TEST_F(AutogradInputsTest, CallersTensorsAreNotTouched) {
  const Blocks blocks = mlp_blocks(2, kWidth);
  const Inputs inputs = random_inputs({3, kWidth});
  const Tensor copy1 = inputs.x1.detach().clone();
  const Tensor copy2 = inputs.x2.detach().clone();
  const auto [y1, y2] = reversible(blocks)(inputs);
  const Tensor out1 = y1.detach().clone();
  const Tensor out2 = y2.detach().clone();
  const auto version = inputs.x1._version();
  weighted_sum({y1, y2}).backward();
  EXPECT_TRUE(
      BitEqual({inputs.x1.detach(), inputs.x2.detach()}, {copy1, copy2}));
  EXPECT_TRUE(BitEqual({y1.detach(), y2.detach()}, {out1, out2}));
  EXPECT_EQ(inputs.x1._version(), version);
  EXPECT_TRUE(inputs.x1.requires_grad());
}

TEST_F(AutogradInputsTest, NoGradModeBuildsNothing) {
  const torch::NoGradGuard no_grad;
  const Inputs inputs = random_inputs({3, kWidth});
  const auto [y1, y2] = reversible(mlp_blocks(2, kWidth))(inputs);
  EXPECT_FALSE(y1.requires_grad());
  EXPECT_EQ(y1.grad_fn(), nullptr);
}

TEST_F(AutogradInputsTest, InferenceModeWorks) {
  const Blocks blocks = mlp_blocks(2, kWidth);
  const Inputs inputs = random_inputs({3, kWidth});
  const auto [p1, p2] = plain(blocks)(inputs);
  const c10::InferenceMode inference;
  const auto [y1, y2] = reversible(blocks)(inputs);
  EXPECT_TRUE(torch::equal(y1, p1));
  EXPECT_TRUE(torch::equal(y2, p2));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
