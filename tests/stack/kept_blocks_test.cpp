#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 8;
constexpr int64_t kDepth = 5;

// Draws, and depends on a buffer that it updates.
torch::nn::Sequential demanding() {
  torch::nn::Sequential module(
      torch::nn::BatchNorm1d(kWidth),
      torch::nn::Linear(kWidth, 2 * kWidth),
      torch::nn::Tanh(),
      torch::nn::Dropout(0.5),
      torch::nn::Linear(2 * kWidth, kWidth));
  module->to(at::kDouble);
  return module;
}

Blocks demanding_blocks() {
  Blocks blocks;
  for (int64_t i = 0; i < kDepth; ++i) {
    blocks.push_back({demanding(), demanding()});
  }
  return blocks;
}

Blocks copy_of(const Blocks& blocks) {
  Blocks copies;
  for (const BranchPair& block : blocks) {
    copies.push_back({block.f.clone(), block.g.clone()});
  }
  return copies;
}

// Bytes after forward, and at the peak of a step whose incoming gradient and
// whose gradients of leaves exist beforehand.
struct Bytes {
  int64_t retained;
  int64_t peak;
};

Bytes bytes_of_step(const Blocks& blocks, const ReversibleOptions& options) {
  const Tensor x = torch::randn({32, 2 * kWidth}, at::kDouble).requires_grad_();
  auto leaves = parameters_of(blocks);
  leaves.push_back(x);
  for (Tensor& leaf : leaves) {
    leaf.mutable_grad() = torch::zeros_like(leaf);
  }
  const Tensor grad = torch::ones_like(x);
  reversible_residual(blocks, x, {}, options).backward(grad);
  const MemoryMeter meter;
  const auto before = meter.live();
  const Tensor y = reversible_residual(blocks, x, {}, options);
  const auto retained = meter.live() - before;
  y.backward(grad);
  return {retained, meter.peak() - before};
}

class KeptBlocksTest
    : public testing::TestWithParam<std::tuple<int64_t, int64_t>> {
 protected:
  ReversibleOptions options = ReversibleOptions()
                                  .save_every(std::get<0>(GetParam()))
                                  .store_last(std::get<1>(GetParam()));
};

TEST_P(KeptBlocksTest, ComputeWhatPlainAutogradComputes) {
  const Blocks blocks = demanding_blocks();
  const Blocks twins = copy_of(blocks);
  const Inputs inputs = random_inputs({6, kWidth});
  for (int step = 0; step < 2; ++step) {
    EXPECT_TRUE(Matches(
        train(reversible(blocks, options), inputs, parameters_of(blocks)),
        train(plain(twins), inputs, parameters_of(twins)),
        kFloat64Tolerance));
    for (int64_t i = 0; i < kDepth; ++i) {
      EXPECT_TRUE(BitEqual(blocks[i].f.buffers(), twins[i].f.buffers()));
      EXPECT_TRUE(BitEqual(blocks[i].g.buffers(), twins[i].g.buffers()));
    }
  }
}

TEST_P(KeptBlocksTest, HaveSecondDerivatives) {
  const Blocks blocks = mlp_blocks(kDepth, kWidth);
  const auto penalty = [&](const Stack& stack) {
    const Inputs inputs = {
        torch::ones({2, kWidth}, at::kDouble).requires_grad_(),
        torch::ones({2, kWidth}, at::kDouble).requires_grad_(),
        {}};
    const auto [y1, y2] = stack(inputs);
    const auto first = torch::autograd::grad(
        {weighted_sum({y1, y2})},
        {inputs.x1, inputs.x2},
        {},
        /*retain_graph=*/true,
        /*create_graph=*/true);
    return torch::autograd::grad(
        {first[0].pow(2).sum() + first[1].pow(2).sum()},
        parameters_of(blocks),
        {},
        {},
        false,
        /*allow_unused=*/true);
  };
  EXPECT_TRUE(AllClose(
      penalty(reversible(blocks, options)),
      penalty(plain(blocks)),
      kFloat64Tolerance));
}

TEST_P(KeptBlocksTest, MergedOutputsAreThoseOfTheWholeStack) {
  const Blocks blocks = mlp_blocks(kDepth, kWidth);
  const Tensor x = torch::randn({3, 2 * kWidth}, at::kDouble);
  EXPECT_TRUE(BitEqual(
      reversible_residual(blocks, x, {}, options),
      reversible_residual(blocks, x)));
  const Tensor half = x.narrow(1, 0, kWidth);
  EXPECT_TRUE(BitEqual(
      reversible_residual(
          blocks, half, {}, ReversibleOptions(options).duplicate()),
      reversible_residual(blocks, half, {}, ReversibleOptions().duplicate())));
}

INSTANTIATE_TEST_SUITE_P(
    Plans,
    KeptBlocksTest,
    testing::Combine(
        testing::Values(0, 1, 2, 7), testing::Values(0, 1, 3, 5, 9)),
    [](const auto& info) {
      return "SaveEvery" + std::to_string(std::get<0>(info.param)) +
             "StoreLast" + std::to_string(std::get<1>(info.param));
    });

// Fingerprints of the drift guard are counted in memory_test.cpp.
ReversibleOptions unguarded() {
  return ReversibleOptions().drift_tolerance(torch::nullopt);
}

TEST(KeptBytesTest, SaveEveryKeepsOnePairForEachOfItsCalls) {
  const auto blocks = mlp_blocks(6, kWidth);
  const auto pair = bytes_of_step(blocks, unguarded()).retained;
  for (const int64_t k : {1, 2, 3, 4, 6}) {
    EXPECT_EQ(
        bytes_of_step(blocks, unguarded().save_every(k)).retained,
        (6 + k - 1) / k * pair)
        << k;
  }
}

// The first stored blocks hide below the peak of those that are rebuilt, so
// that the peak runs on or below the line.
TEST(KeptBytesTest, StoreLastStaysOnOrBelowTheLineFromReversibleToPlain) {
  constexpr int64_t kBlocks = 8;
  const auto blocks = mlp_blocks(kBlocks, kWidth);
  std::vector<Bytes> at;
  for (int64_t n = 0; n <= kBlocks; ++n) {
    at.push_back(bytes_of_step(blocks, unguarded().store_last(n)));
  }
  const auto slope = double(at[kBlocks].peak - at[0].peak) / kBlocks;
  for (int64_t n = 0; n <= kBlocks; ++n) {
    EXPECT_LE(at[n].peak, 1.05 * (at[0].peak + slope * n)) << n;
  }
  // Each block keeps as much as any other. (The first keeps the input, too,
  // which is there anyway.)
  for (int64_t n = 2; n < kBlocks - 1; ++n) {
    EXPECT_EQ(
        at[n + 1].retained - at[n].retained,
        at[n].retained - at[n - 1].retained)
        << n;
  }
}

TEST(KeptBytesTest, StoreLastNeedsTheSamePeakForTheRestAtEveryDepth) {
  const auto options = unguarded().store_last(2);
  const auto peak = bytes_of_step(mlp_blocks(4, kWidth), options).peak;
  EXPECT_EQ(bytes_of_step(mlp_blocks(16, kWidth), options).peak, peak);
}

// Without normalisation rounding is amplified from block to block.
TEST(KeptBlocksRoundingTest, SaveEveryBoundsIt) {
  Blocks blocks;
  for (int i = 0; i < 48; ++i) {
    const auto branch = [] {
      return torch::nn::Sequential(
          torch::nn::Linear(kWidth, kWidth), torch::nn::ReLU());
    };
    blocks.push_back({branch(), branch()});
  }
  const Inputs inputs = random_inputs({16, kWidth}, at::kFloat);
  const auto parameters = parameters_of(blocks);
  const auto exact = train(plain(blocks), inputs, parameters).gradients;
  const auto error = [&](const ReversibleOptions& options) {
    const auto found =
        train(reversible(blocks, options), inputs, parameters).gradients;
    double worst = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      worst = std::max(
          worst,
          ((found[i] - exact[i]).norm() / exact[i].norm()).item<double>());
    }
    return worst;
  };
  EXPECT_LT(error(unguarded().save_every(1)), 1e-5);
  EXPECT_GT(error(unguarded()), 100 * error(unguarded().save_every(1)));
}

TEST(KeptBlocksErrorTest, MessagesCountTheBlocksOfTheWholeStack) {
  auto blocks = mlp_blocks(4, kWidth);
  blocks[3].g =
      Branch::function([](const Tensor& x, at::TensorList, at::TensorList) {
        return x.narrow(0, 0, 1);
      });
  for (const auto& options :
       {ReversibleOptions().save_every(3), ReversibleOptions().store_last(2)}) {
    EXPECT_THROW_WITH(
        reversible(blocks, options)(random_inputs({2, kWidth})),
        c10::ValueError,
        "torchrev::reversible_sequence",
        "G of block 3");
  }
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
