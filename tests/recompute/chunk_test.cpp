#include "support/oracle.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using torch::autograd::grad;

constexpr int64_t kWidth = 6;

ReversibleOptions chunked(int64_t chunks, int64_t dim = 1) {
  return ReversibleOptions().chunks_f(chunks).chunks_g(chunks).chunk_dim(dim);
}

// The same branch, cut up by hand.
Branch by_hand(const Branch& branch, int64_t chunks, int64_t dim) {
  return Branch::function(
      [=](const Tensor& x, at::TensorList, at::TensorList) {
        std::vector<Tensor> values;
        for (const Tensor& part : x.chunk(chunks, dim)) {
          values.push_back(branch(part));
        }
        return torch::cat(values, dim);
      },
      branch.parameters());
}

class ChunkTest : public testing::TestWithParam<int64_t> {
 protected:
  Inputs inputs = random_inputs({2, 12, kWidth});
};

TEST_P(ChunkTest, GradientsEqualUnchunkedOnes) {
  EXPECT_TRUE(MatchesWhole(mlp_blocks(3, kWidth), inputs, chunked(GetParam())));
}

TEST_P(ChunkTest, GradientPenaltyEqualsPlainAutograd) {
  const Blocks blocks = mlp_blocks(2, kWidth);
  const auto penalty = [&](const Stack& stack) {
    const auto [y1, y2] = stack(inputs);
    const auto first =
        grad({weighted_sum({y1, y2})}, {inputs.x1, inputs.x2}, {}, true, true);
    return grad(
        {first[0].pow(2).sum() + first[1].pow(2).sum()},
        {inputs.x1, inputs.x2});
  };
  EXPECT_TRUE(AllClose(
      penalty(reversible(blocks, chunked(GetParam()))),
      penalty(plain(blocks)),
      kFloat64Tolerance));
}

// More chunks than positions, and sizes that do not divide 12, among them.
INSTANTIATE_TEST_SUITE_P(
    Counts, ChunkTest, testing::Values(1, 2, 3, 5, 12, 40));

TEST(ChunkOptionsTest, AnyDimensionOfAStream) {
  for (const int64_t dim : {0, 1, -2, -3}) {
    EXPECT_TRUE(MatchesWhole(
        mlp_blocks(2, kWidth), random_inputs({4, 3, kWidth}), chunked(2, dim)))
        << dim;
  }
}

TEST(ChunkOptionsTest, FAloneOrGAlone) {
  const auto inputs = random_inputs({2, 8, kWidth});
  for (const auto& options :
       {ReversibleOptions().chunks_f(4), ReversibleOptions().chunks_g(4)}) {
    EXPECT_TRUE(MatchesWhole(mlp_blocks(2, kWidth), inputs, options));
  }
}

TEST(ChunkOptionsTest, AttentionStaysWholeBesideAChunkedG) {
  const Blocks blocks = {
      {attention(kWidth), mlp(kWidth)}, {attention(kWidth), mlp(kWidth)}};
  EXPECT_TRUE(MatchesWhole(
      blocks, random_inputs({2, 8, kWidth}), ReversibleOptions().chunks_g(3)));
}

TEST(ChunkOptionsTest, DropoutDrawsChunkByChunk) {
  const auto dropping = [] {
    torch::nn::Sequential module(
        torch::nn::Linear(kWidth, kWidth), torch::nn::Dropout(0.5));
    module->to(at::kDouble);
    return Branch(module);
  };
  const Branch f = dropping();
  const Branch g = dropping();
  const Blocks blocks = {{f, g}};
  const Blocks cut = {{by_hand(f, 4, 1), by_hand(g, 4, 1)}};
  const auto inputs = random_inputs({2, 8, kWidth});
  const auto expected = train(plain(cut), inputs, parameters_of(cut));
  for (const int64_t stored : {0, 1}) {
    EXPECT_TRUE(Matches(
        train(
            reversible(blocks, chunked(4).store_last(stored)),
            inputs,
            parameters_of(blocks)),
        expected,
        kFloat64Tolerance));
  }
}

TEST(ChunkOptionsTest, ContextGetsTheSumOverChunks) {
  const auto shifted =
      Branch::function([](const Tensor& x, at::TensorList context, auto) {
        return (x * context[0]).tanh();
      }).context();
  const Blocks blocks = {{shifted, shifted}};
  Inputs inputs = random_inputs({2, 8, kWidth});
  inputs.context = {torch::randn({kWidth}, at::kDouble).requires_grad_()};
  EXPECT_TRUE(MatchesWhole(blocks, inputs, chunked(4)));
}

TEST(ChunkOptionsTest, FrozenBranchesAndConstantsPass) {
  auto frozen = mlp(kWidth);
  for (auto& parameter : frozen->parameters()) {
    parameter.requires_grad_(false);
  }
  const auto constant =
      Branch::function([](const Tensor& x, at::TensorList, at::TensorList) {
        return torch::ones_like(x);
      });
  EXPECT_TRUE(MatchesWhole(
      {{frozen, constant}, {constant, mlp(kWidth)}},
      random_inputs({2, 8, kWidth}),
      chunked(4)));
}

TEST(ChunkOptionsTest, EmptyStreamsPass) {
  EXPECT_TRUE(MatchesWhole(
      mlp_blocks(2, kWidth), random_inputs({2, 0, kWidth}), chunked(4)));
}

TEST(ChunkOptionsTest, DimensionOutOfRangeThrows) {
  EXPECT_THROW_WITH(
      reversible(
          mlp_blocks(1, kWidth), chunked(2, 3))(random_inputs({2, 8, kWidth})),
      c10::IndexError,
      "`chunk_dim`",
      "3",
      "[2, 8, 6]");
}

TEST(ChunkOptionsTest, InverseRecoversInput) {
  const auto blocks = mlp_blocks(2, kWidth);
  const auto inputs = random_inputs({2, 8, kWidth});
  const auto [y1, y2] =
      reversible_sequence(blocks, inputs.x1, inputs.x2, {}, chunked(3));
  const auto [x1, x2] =
      reversible_sequence_inverse(blocks, y1, y2, {}, chunked(3));
  EXPECT_TRUE(AllClose({x1, x2}, {inputs.x1, inputs.x2}, kFloat64Tolerance));
}

int64_t peak_of(
    int64_t depth,
    int64_t chunks_g,
    int64_t width = kWidth,
    int64_t length = 512) {
  Blocks blocks;
  for (int64_t i = 0; i < depth; ++i) {
    blocks.push_back({linear(width), mlp(width)});
  }
  const auto inputs = random_inputs({1, length, width});
  const auto options = ReversibleOptions().chunks_g(chunks_g);
  auto leaves = parameters_of(blocks);
  leaves.insert(leaves.end(), {inputs.x1, inputs.x2});
  for (Tensor& leaf : leaves) {
    leaf.mutable_grad() = torch::zeros_like(leaf);
  }
  const auto step = [&] {
    const auto [y1, y2] = reversible(blocks, options)(inputs);
    (y1.sum() + y2.sum()).backward();
  };
  step();
  const MemoryMeter meter;
  const auto before = meter.live();
  step();
  return meter.peak() - before;
}

TEST(ChunkMemoryTest, WideActivationsExistForOneChunkAtATime) {
  EXPECT_LT(2 * peak_of(2, 16), peak_of(2, 1));
}

// Where weights are larger than activations, a chunk costs one more gradient of
// a weight, on its way into the sum.
TEST(ChunkMemoryTest, GradientsOfWeightsAreSummedInPlace) {
  const auto peak = [](int64_t chunks) { return peak_of(2, chunks, 64, 8); };
  constexpr int64_t kLargestGradient = 4 * 64 * 64 * sizeof(double);
  EXPECT_LE(peak(4), peak(1) + kLargestGradient);
  EXPECT_LE(peak(8), peak(4));
}

TEST(ChunkMemoryTest, PeakIsTheSameAtEveryDepth) {
  EXPECT_EQ(peak_of(12, 8), peak_of(2, 8));
}

TEST(CheckPositionWiseTest, PassesForWhatActsPositionByPosition) {
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    const auto x = torch::randn({2, 9, kWidth}, dtype);
    EXPECT_NO_THROW(check_position_wise(mlp(kWidth, dtype), x, 4));
  }
}

TEST(CheckPositionWiseTest, ThrowsForAttention) {
  const auto x = torch::randn({2, 9, kWidth}, at::kDouble);
  EXPECT_THROW_WITH(
      check_position_wise(attention(kWidth), x, 4),
      c10::ValueError,
      "torchrev::check_position_wise",
      "dimension 1",
      "4 chunks");
}

TEST(CheckPositionWiseTest, LeavesBuffersAndGeneratorAsTheyWere) {
  torch::nn::Sequential norm(torch::nn::BatchNorm1d(9), torch::nn::Dropout());
  norm->to(at::kDouble);
  auto generator = at::detail::getDefaultCPUGenerator();
  const Tensor state = generator.get_state();
  const Tensor mean = norm->buffers()[0].clone();
  const auto x = torch::randn({4, 9, kWidth}, at::kDouble);
  generator.set_state(state);
  EXPECT_THROW(check_position_wise(norm, x, 2, 0), c10::ValueError);
  EXPECT_TRUE(BitEqual(norm->buffers()[0], mean));
  EXPECT_TRUE(BitEqual(generator.get_state(), state));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
