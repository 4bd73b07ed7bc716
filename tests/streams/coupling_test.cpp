#include "support/oracle.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

// y = x / 2 + value: ten lines, as coupling.h promises.
struct Scaled : Coupling {
  Tensor forward(
      const Tensor& x,
      const Tensor& value,
      const Tensor&,
      const StepId&) const override {
    return x / 2 + value;
  }
  Tensor inverse(
      const Tensor& y,
      const Tensor& value,
      const Tensor&,
      const StepId&) const override {
    return (y - value) * 2;
  }
};

struct Case {
  std::string name;
  ReversibleOptions options;
  // Of what a branch returns, relative to the width of a stream.
  int64_t widths = 1;
};

void PrintTo(const Case& c, std::ostream* stream) {
  *stream << c.name;
}

class CouplingTest : public testing::TestWithParam<Case> {
 protected:
  CouplingTest() {
    torch::manual_seed(0);
    for (int i = 0; i < 4; ++i) {
      blocks.push_back({branch(), branch()});
    }
  }

  torch::nn::Sequential branch() const {
    torch::nn::Sequential layers(
        torch::nn::LayerNorm(torch::nn::LayerNormOptions({kWidth})),
        torch::nn::Linear(kWidth, GetParam().widths * kWidth),
        torch::nn::Tanh());
    layers->to(at::kDouble);
    return layers;
  }

  static constexpr int64_t kWidth = 6;
  const ReversibleOptions& options = GetParam().options;
  Blocks blocks;
  Inputs inputs = random_inputs({2, 5, kWidth});
};

TEST_P(CouplingTest, GradientsEqualPlainAutograd) {
  EXPECT_TRUE(MatchesOracle(blocks, inputs, options));
}

TEST_P(CouplingTest, WorksWithKeptBlocks) {
  for (const auto& kept :
       {ReversibleOptions(options).save_every(1),
        ReversibleOptions(options).store_last(2),
        ReversibleOptions(options).store_last(4)}) {
    EXPECT_TRUE(MatchesOracle(blocks, inputs, kept));
  }
}

TEST_P(CouplingTest, WorksWithChunks) {
  auto chunked = options;
  chunked.chunks_f(2).chunks_g(5);
  EXPECT_TRUE(MatchesWhole(blocks, inputs, chunked));
}

TEST_P(CouplingTest, WorksOnWiderStreams) {
  for (auto& block : blocks) {
    for (auto* branch : {&block.f, &block.g}) {
      branch->module()->to(at::kFloat);
    }
  }
  auto wide = options;
  wide.stream_dtype(at::kDouble);
  EXPECT_TRUE(MatchesOracle(
      blocks, random_inputs({2, 5, kWidth}, at::kFloat), wide, 1e-5));
}

TEST_P(CouplingTest, OneOutputInTheLossSuffices) {
  for (const int output : {0, 1}) {
    const auto one = [output](const Stack& stack) {
      return [stack, output](const Inputs& x) {
        auto [y1, y2] = stack(x);
        (output == 0 ? y2 : y1) = torch::zeros({1});
        return std::make_tuple(y1, y2);
      };
    };
    const auto parameters = parameters_of(blocks);
    EXPECT_TRUE(Matches(
        train(one(reversible(blocks, options)), inputs, parameters),
        train(one(plain(blocks, options)), inputs, parameters),
        kFloat64Tolerance));
  }
}

TEST_P(CouplingTest, InputsNeedNotRequireGrad) {
  inputs.x1.requires_grad_(false);
  EXPECT_TRUE(MatchesOracle(blocks, inputs, options));
  inputs.x2.requires_grad_(false);
  EXPECT_TRUE(MatchesOracle(blocks, inputs, options));
}

TEST_P(CouplingTest, GradientPenaltyEqualsPlainAutograd) {
  const auto penalty = [&](const Stack& stack) {
    const auto [y1, y2] = stack(inputs);
    const auto gradients = torch::autograd::grad(
        {weighted_sum({y1.tanh(), y2})},
        {inputs.x1, inputs.x2},
        {},
        /*retain_graph=*/true,
        /*create_graph=*/true);
    return torch::autograd::grad(
        {weighted_sum(gradients).square()},
        {inputs.x1, inputs.x2, parameters_of(blocks)[2]});
  };
  EXPECT_TRUE(AllClose(
      penalty(reversible(blocks, options)),
      penalty(plain(blocks, options)),
      kFloat64Tolerance));
}

TEST_P(CouplingTest, InverseRecoversTheInput) {
  const auto [y1, y2] = reversible(blocks, options)(inputs);
  const auto [x1, x2] =
      reversible_sequence_inverse(blocks, y1, y2, {}, options);
  EXPECT_TRUE(AllClose({x1, x2}, {inputs.x1, inputs.x2}, kFloat64Tolerance));
}

TEST_P(CouplingTest, PeakIsTheSameAtEveryDepth) {
  const auto peak = [&](int64_t depth) {
    const Blocks some(blocks.begin(), blocks.begin() + depth);
    const auto step = [&] {
      const auto [y1, y2] = reversible(
          some,
          ReversibleOptions(options).drift_tolerance(torch::nullopt))(inputs);
      torch::autograd::grad({y1.sum() + y2.sum()}, {inputs.x1, inputs.x2});
    };
    step();
    const MemoryMeter meter;
    const auto before = MemoryMeter::live();
    step();
    return MemoryMeter::peak() - before;
  };
  EXPECT_EQ(peak(4), peak(2));
}

INSTANTIATE_TEST_SUITE_P(
    EachCoupling,
    CouplingTest,
    testing::Values(
        Case{"additive", {}},
        Case{"momentum", ReversibleOptions().coupling(momentum_coupling(0.9))},
        Case{
            "momentum_of_a_half",
            ReversibleOptions().coupling(momentum_coupling(0.5))},
        Case{"affine", ReversibleOptions().coupling(affine_coupling()), 2},
        Case{
            "custom",
            ReversibleOptions().coupling(std::make_shared<Scaled>())}),
    [](const auto& info) { return info.param.name; });

TEST(AffineCouplingTest, ChunksAlongItsDimensionThrow) {
  const auto options =
      ReversibleOptions().coupling(affine_coupling()).chunks_f(2).chunk_dim(1);
  EXPECT_THROW_WITH(
      reversible(mlp_blocks(1, 4), options)(random_inputs({3, 4})),
      c10::ValueError,
      "torchrev::reversible_sequence",
      "[3, 8]",
      "`chunk_dim`");
}

TEST(AffineCouplingTest, DimensionThatTheStreamHasNotThrows) {
  EXPECT_THROW_WITH(
      reversible(
          mlp_blocks(1, 4),
          ReversibleOptions().coupling(affine_coupling(3)).split(3))(
          random_inputs({3, 4})),
      c10::IndexError,
      "`dim`",
      "3");
}

TEST(AffineCouplingTest, BranchOfOneWidthThrows) {
  EXPECT_THROW_WITH(
      reversible(
          mlp_blocks(1, 4), ReversibleOptions().coupling(affine_coupling()))(
          random_inputs({3, 4})),
      c10::ValueError,
      "F of block 0",
      "[3, 8]",
      "[3, 4]");
}

TEST(AffineCouplingTest, FollowsTheDimensionOfTheSplit) {
  torch::manual_seed(0);
  const torch::nn::Conv2d f(torch::nn::Conv2dOptions(2, 4, 1));
  const torch::nn::Conv2d g(torch::nn::Conv2dOptions(2, 4, 1));
  const auto options =
      ReversibleOptions().coupling(affine_coupling(1)).split(1);
  const auto x = torch::randn({2, 4, 3, 3});
  const auto halves = x.chunk(2, 1);
  const auto coupling = affine_coupling(1);
  const auto y1 = coupling->forward(
      halves[0],
      const_cast<torch::nn::Conv2dImpl&>(*f).forward(halves[1]),
      halves[1],
      {0, Role::kF});
  const auto y2 = coupling->forward(
      halves[1],
      const_cast<torch::nn::Conv2dImpl&>(*g).forward(y1),
      y1,
      {0, Role::kG});
  const BranchPair block{f, g};
  EXPECT_TRUE(BitEqual(
      reversible_residual(block, x, {}, options), torch::cat({y1, y2}, 1)));
}

TEST(MomentumCouplingTest, OutsideOfItsRangeThrows) {
  for (const double momentum : {-0.1, 1.0}) {
    EXPECT_THROW_WITH(
        momentum_coupling(momentum), c10::ValueError, "`momentum`", "[0, 1)");
  }
}

TEST(MomentumCouplingTest, OfZeroHasNoInverse) {
  const auto options = ReversibleOptions().coupling(momentum_coupling(0));
  const auto blocks = mlp_blocks(2, 4);
  EXPECT_THROW_WITH(
      reversible(blocks, options)(random_inputs({3, 4})),
      c10::ValueError,
      "momentum_coupling(0)",
      "store_last");
  const auto kept = ReversibleOptions(options).store_last(2);
  EXPECT_TRUE(MatchesOracle(blocks, random_inputs({3, 4}), kept));
  EXPECT_THROW_WITH(
      reversible_sequence_inverse(
          blocks, torch::zeros({3, 4}), torch::zeros({3, 4}), {}, kept),
      c10::ValueError,
      "momentum_coupling(0)");
  EXPECT_THROW_WITH(
      momentum_coupling(0)->inverse(
          torch::zeros({2}),
          torch::zeros({2}),
          torch::zeros({2}),
          {0, Role::kF}),
      c10::ValueError,
      "above 0");
  const torch::NoGradGuard no_grad;
  EXPECT_NO_THROW(reversible(blocks, options)(random_inputs({3, 4})));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
