#include <sstream>
#include <string>
#include <vector>

#include "nn/reformer_support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using nn::FullAttention;
using nn::LSHAttention;
using nn::Reformer;
using nn::ReformerOptions;

Reformer make(const ReformerOptions& options) {
  torch::manual_seed(5);
  Reformer model(options);
  model->to(at::kDouble);
  return model;
}

Tensor input(int64_t length = 10) {
  return torch::randn({3, length, kWidth}, at::kDouble);
}

/// [3, length], true for the last two positions of the second sequence.
Tensor padding_of(int64_t length) {
  auto padding = torch::zeros({3, length}, at::kBool);
  padding[1].slice(0, length - 2).fill_(true);
  return padding;
}

/// The same network in plain autograd.
Tensor plain_forward(Reformer& model, const Tensor& x, const Tensor& padding) {
  const auto [y1, y2] = additive_coupling_sequence(
      model->stack->branches, x, x, std::vector<Tensor>{padding});
  return model->norm((y1 + y2) / 2);
}

std::vector<Tensor> gradients_of(Reformer& model, const Tensor& y) {
  return torch::autograd::grad({weighted_sum({y})}, model->parameters());
}

class ReformerTest : public testing::TestWithParam<std::string> {};

TEST_P(ReformerTest, GradientMatchesPlainAutograd) {
  auto model = make(small(GetParam()).dropout(0.3).causal(true));
  const auto x = input();
  for (const auto& padding : {Tensor(), padding_of(10)}) {
    torch::manual_seed(6);
    const auto y = model->forward(x, padding);
    torch::manual_seed(6);
    const auto expected = plain_forward(model, x, padding);
    EXPECT_TRUE(BitEqual(y, expected));
    EXPECT_TRUE(AllClose(
        gradients_of(model, y),
        gradients_of(model, expected),
        kFloat64Tolerance));
  }
}

TEST_P(ReformerTest, TakesSequencesOfAnyLength) {
  auto model = make(small(GetParam()));
  for (const auto length : {0, 1, 3, 4, 5, 8, 11}) {
    const auto x = input(length);
    const auto y = model->forward(x);
    EXPECT_EQ(y.sizes(), x.sizes());
    EXPECT_TRUE(y.isfinite().all().item<bool>());
  }
}

TEST_P(ReformerTest, TakesAnEmptyBatch) {
  auto model = make(small(GetParam()));
  const auto x = input().slice(0, 0, 0).requires_grad_();
  const auto y = model->forward(x);
  EXPECT_EQ(y.sizes(), x.sizes());
  y.sum().backward();
  EXPECT_EQ(x.grad().sizes(), x.sizes());
}

TEST_P(ReformerTest, PaddingDoesNotReachOtherPositions) {
  auto model = make(small(GetParam()));
  const auto padding = padding_of(10);
  const auto x = input();
  const auto other = x.masked_fill(padding.unsqueeze(-1), 7.0);
  const auto run = [&](const Tensor& x) {
    torch::manual_seed(6);
    return model->forward(x, padding).masked_fill(padding.unsqueeze(-1), 0.0);
  };
  EXPECT_TRUE(AllClose(run(other), run(x), kFloat64Tolerance));
}

TEST_P(ReformerTest, SequencesThatAreAllPaddingStayFinite) {
  auto model = make(small(GetParam()));
  const auto y = model->forward(input(), torch::ones({3, 10}, at::kBool));
  EXPECT_TRUE(y.isfinite().all().item<bool>());
}

TEST_P(ReformerTest, ChunksOfTheFeedForwardLayersChangeNothing) {
  auto whole = make(small(GetParam()));
  auto options = small(GetParam());
  options.reversible().chunks_g(3);
  auto chunked = make(options);
  const auto x = input();
  const auto step = [&](Reformer& model) {
    torch::manual_seed(6);
    return gradients_of(model, model->forward(x));
  };
  EXPECT_TRUE(AllClose(step(chunked), step(whole), kFloat64Tolerance));
}

TEST_P(ReformerTest, CloneIsDeep) {
  auto model = make(small(GetParam()));
  model->stack[1].ptr()->eval();
  Reformer copy(std::dynamic_pointer_cast<nn::ReformerImpl>(model->clone()));
  const auto before = model->named_parameters();
  const auto after = copy->named_parameters();
  EXPECT_EQ(after.keys(), before.keys());
  EXPECT_TRUE(BitEqual(after.values(), before.values()));
  EXPECT_FALSE(after[0].value().is_same(before[0].value()));
  EXPECT_TRUE(copy->stack[0].ptr()->is_training());
  EXPECT_FALSE(copy->stack[1].ptr()->is_training());
  const auto x = input();
  torch::manual_seed(6);
  const auto y = model->forward(x);
  torch::manual_seed(6);
  EXPECT_TRUE(BitEqual(copy->forward(x), y));
}

struct AroundImpl : torch::nn::Cloneable<AroundImpl> {
  explicit AroundImpl(ReformerOptions options) : options(std::move(options)) {
    reset();
  }
  void reset() override {
    model = register_module("model", Reformer(options));
  }
  ReformerOptions options;
  Reformer model = nullptr;
};

TEST_P(ReformerTest, ClonesWithAModuleAroundIt) {
  const AroundImpl around(small(GetParam()));
  const auto copy = std::dynamic_pointer_cast<AroundImpl>(around.clone());
  EXPECT_TRUE(BitEqual(copy->parameters(), around.parameters()));
  EXPECT_FALSE(copy->parameters()[0].is_same(around.parameters()[0]));
  EXPECT_TRUE(copy->model->parameters()[0].is_same(copy->parameters()[0]));
}

TEST_P(ReformerTest, SavesAndLoads) {
  auto model = make(small(GetParam()));
  std::stringstream stream;
  torch::save(model, stream);
  Reformer loaded(small(GetParam()));
  loaded->to(at::kDouble);
  torch::load(loaded, stream);
  EXPECT_TRUE(BitEqual(loaded->parameters(), model->parameters()));
}

TEST_P(ReformerTest, RunsInASequential) {
  torch::nn::Sequential layers(
      torch::nn::Linear(5, kWidth), Reformer(small(GetParam())));
  EXPECT_EQ(
      layers->forward(torch::randn({2, 6, 5})).sizes(),
      (std::vector<int64_t>{2, 6, kWidth}));
}

INSTANTIATE_TEST_SUITE_P(
    Attention,
    ReformerTest,
    testing::Values("full", "lsh"),
    [](const auto& info) { return info.param; });

// --- Memory -----------------------------------------------------------------

/// Bytes after forward, and at most, above those at its entry.
std::pair<int64_t, int64_t> bytes_of(const ReformerOptions& options) {
  auto model = make(options);
  for (auto& parameter : model->parameters()) {
    parameter.mutable_grad() = torch::zeros_like(parameter);
  }
  const auto x = input(12);
  const auto before = MemoryMeter::live();
  MemoryMeter::reset();
  const auto loss = model->forward(x).sum();
  const auto kept = MemoryMeter::live() - before;
  loss.backward();
  return {kept, MemoryMeter::peak() - before};
}

TEST(ReformerMemoryTest, FullAttentionNeedsTheSameAtEveryDepth) {
  const auto shallow = bytes_of(small("full", 4));
  EXPECT_EQ(bytes_of(small("full", 16)), shallow);
}

// And the generator's state, from which rotations were drawn: no tensor.
TEST(ReformerMemoryTest, LSHAttentionKeepsTwoBytesForEachBucket) {
  const auto buckets = int64_t(2) * 3 * kHeads * 2 * 12;
  const auto shallow = bytes_of(small("lsh", 4));
  const auto deep = bytes_of(small("lsh", 16));
  EXPECT_EQ(deep.first - shallow.first, 12 * buckets);
  EXPECT_EQ(deep.second - shallow.second, 12 * buckets);
}

// --- Attention --------------------------------------------------------------

TEST(FullAttentionTest, ADecoderTakesNothingFromLaterPositions) {
  auto model = make(small("full").causal(true));
  const auto x = input();
  auto later = x.clone();
  later.slice(1, 6).normal_();
  for (const auto& padding :
       {Tensor(), padding_of(10), padding_of(10).flip(1)}) {
    EXPECT_TRUE(AllClose(
        model->forward(later, padding).slice(1, 0, 6),
        model->forward(x, padding).slice(1, 0, 6),
        kFloat64Tolerance));
  }
}

TEST(LSHAttentionModuleTest, HasSecondDerivatives) {
  auto model = make(small("lsh"));
  const auto x = input().requires_grad_();
  const auto penalty = [&](bool reversible) {
    torch::manual_seed(6);
    const auto y = reversible ? model->forward(x) : plain_forward(model, x, {});
    const auto gradient = torch::autograd::grad(
        {weighted_sum({y.pow(2)})}, {x}, {}, true, true)[0];
    return gradients_of(model, gradient);
  };
  EXPECT_TRUE(AllClose(penalty(true), penalty(false), kFloat64Tolerance));
}

// Buckets are discrete: rebuilt streams, which are off by some rounding, would
// fall into others now and then.
TEST(LSHAttentionModuleTest, RecomputeFallsIntoTheBucketsOfForward) {
  auto options = small("lsh", 8).num_hashes(4);
  options.reversible().drift_tolerance(torch::nullopt);
  torch::manual_seed(5);
  Reformer model(options);
  // Large values in one stream round the other one.
  const auto x = 300 * torch::randn({4, 256, kWidth});
  torch::manual_seed(6);
  const auto y = model->forward(x);
  torch::manual_seed(6);
  const auto expected = plain_forward(model, x, {});
  EXPECT_TRUE(
      AllClose(gradients_of(model, y), gradients_of(model, expected), 1e-3));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
