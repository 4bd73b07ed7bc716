#include "support/autocast.h"
#include "support/oracle.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

ReversibleOptions streams_of(at::ScalarType dtype) {
  return ReversibleOptions().stream_dtype(dtype);
}

double worst_reconstruction(
    const Blocks& blocks,
    const Inputs& inputs,
    const ReversibleOptions& options) {
  double worst = 0;
  for (const auto& block :
       drift(blocks, inputs.x1, inputs.x2, inputs.context, options)) {
    worst = std::max(worst, block.reconstruction);
  }
  return worst;
}

TEST(StreamDtypeTest, StreamsAreAddedInItWhileBranchesRunInTheirs) {
  torch::manual_seed(0);
  EXPECT_TRUE(MatchesOracle(
      mlp_blocks(6, 8, at::kFloat),
      random_inputs({5, 8}, at::kFloat),
      streams_of(at::kDouble),
      kFloat32Tolerance));
}

TEST(StreamDtypeTest, BranchesSeeTheDtypeOfTheInput) {
  std::vector<at::ScalarType> seen;
  const auto f = Branch::function(
      [&seen](const Tensor& x, at::TensorList, at::TensorList) {
        seen.push_back(x.scalar_type());
        return x.tanh();
      });
  const auto inputs = random_inputs({3, 4}, at::kFloat);
  const auto [y1, y2] =
      reversible_block(f, f, inputs.x1, inputs.x2, {}, streams_of(at::kDouble));
  (y1.sum() + y2.sum()).backward();
  // Twice in forward, since it is the first call of f, and once for G.
  EXPECT_EQ(seen.size(), 5u);
  for (const auto dtype : seen) {
    EXPECT_EQ(dtype, at::kFloat);
  }
}

TEST(StreamDtypeTest, OutputAndGradientsHaveTheDtypeOfTheInput) {
  const auto blocks = mlp_blocks(2, 4, at::kFloat);
  const auto inputs = random_inputs({3, 4}, at::kFloat);
  const auto step = train(
      reversible(blocks, streams_of(at::kDouble)),
      inputs,
      parameters_of(blocks));
  for (const auto* tensors : {&step.outputs, &step.gradients}) {
    for (const auto& tensor : *tensors) {
      EXPECT_EQ(tensor.scalar_type(), at::kFloat);
    }
  }
}

TEST(StreamDtypeTest, BfloatBranchesRunOnFloatStreams) {
  torch::manual_seed(0);
  EXPECT_TRUE(MatchesOracle(
      mlp_blocks(4, 8, at::kBFloat16),
      random_inputs({5, 8}, at::kBFloat16),
      streams_of(at::kFloat),
      2e-2));
}

TEST(StreamDtypeTest, WiderStreamsAreRebuiltMoreExactly) {
  torch::manual_seed(0);
  const auto blocks = mlp_blocks(32, 8, at::kFloat);
  const auto inputs = random_inputs({5, 8}, at::kFloat);
  EXPECT_GT(worst_reconstruction(blocks, inputs, {}), 1e-8);
  EXPECT_LT(
      worst_reconstruction(blocks, inputs, streams_of(at::kDouble)), 1e-14);
}

TEST(StreamDtypeTest, WorksUnderAutocast) {
  torch::manual_seed(0);
  const auto blocks = mlp_blocks(3, 8, at::kFloat);
  const auto inputs = random_inputs({5, 8}, at::kFloat);
  const auto parameters = parameters_of(blocks);
  const auto under_autocast = [&](const Stack& stack) {
    return [&stack](const Inputs& inputs) {
      const Autocast autocast;
      return stack(inputs);
    };
  };
  const auto wide = reversible(blocks, streams_of(at::kDouble));
  const auto oracle = plain(blocks, streams_of(at::kDouble));
  EXPECT_TRUE(Matches(
      train(under_autocast(wide), inputs, parameters),
      train(under_autocast(oracle), inputs, parameters),
      2e-2));
}

TEST(StreamDtypeTest, WorksWithKeptBlocks) {
  torch::manual_seed(0);
  const auto blocks = mlp_blocks(5, 8, at::kFloat);
  const auto inputs = random_inputs({5, 8}, at::kFloat);
  for (const auto& options :
       {streams_of(at::kDouble).save_every(2),
        streams_of(at::kDouble).store_last(2),
        streams_of(at::kDouble).store_last(5)}) {
    EXPECT_TRUE(MatchesOracle(blocks, inputs, options, kFloat32Tolerance));
  }
}

TEST(StreamDtypeTest, WorksWithChunks) {
  torch::manual_seed(0);
  const auto blocks = mlp_blocks(5, 8, at::kFloat);
  const auto inputs = random_inputs({5, 8}, at::kFloat);
  auto chunked = streams_of(at::kDouble);
  chunked.chunks_f(2).chunks_g(5).chunk_dim(0);
  EXPECT_TRUE(MatchesWhole(blocks, inputs, chunked, kFloat32Tolerance));
}

TEST(StreamDtypeTest, InverseRecoversTheInput) {
  torch::manual_seed(0);
  const auto blocks = mlp_blocks(4, 8, at::kFloat);
  const auto x1 = torch::randn({5, 8});
  const auto x2 = torch::randn({5, 8});
  const auto options = streams_of(at::kDouble);
  const auto [y1, y2] = reversible_sequence(blocks, x1, x2, {}, options);
  const auto [z1, z2] =
      reversible_sequence_inverse(blocks, y1, y2, {}, options);
  EXPECT_EQ(z1.scalar_type(), at::kFloat);
  EXPECT_TRUE(AllClose({z1, z2}, {x1, x2}, kFloat32Tolerance));
}

TEST(StreamDtypeTest, KeepsOneWidePairBesidesTheOutput) {
  nn::ReversibleSequential stack(
      streams_of(at::kDouble).drift_tolerance(torch::nullopt));
  stack->push_back(mlp(8, at::kFloat), mlp(8, at::kFloat));
  const auto x = torch::randn({16, 16}).requires_grad_();
  stack->forward(x);
  const auto before = MemoryMeter::live();
  const auto y = stack->forward(x);
  EXPECT_EQ(MemoryMeter::live() - before, static_cast<int64_t>(3 * y.nbytes()));
}

TEST(StreamDtypeTest, NarrowerThanTheInputThrows) {
  const auto run = [](at::ScalarType stream, at::ScalarType input) {
    reversible(mlp_blocks(1, 4, input), streams_of(stream))(
        random_inputs({3, 4}, input));
  };
  EXPECT_THROW_WITH(
      run(at::kFloat, at::kDouble),
      c10::TypeError,
      "torchrev::reversible_sequence",
      "`stream_dtype`",
      "Double",
      "Float");
  EXPECT_THROW_WITH(
      run(at::kHalf, at::kBFloat16), c10::TypeError, "`stream_dtype`", "Half");
  EXPECT_THROW_WITH(
      run(at::kInt, at::kFloat), c10::TypeError, "`stream_dtype`", "Int");
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
