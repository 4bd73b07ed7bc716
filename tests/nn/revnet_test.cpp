#include <sstream>

#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

// What RevNet adds to plain autograd is rounding of rebuilt streams, through
// batch norms that divide by small deviations.
constexpr double kTolerance = 1e-9;

nn::RevNetOptions small(const std::string& block = "basic") {
  const bool basic = block == "basic";
  return nn::RevNetOptions()
      .depths({2, 1, 2})
      .widths(
          basic ? std::vector<int64_t>{4, 6, 8}
                : std::vector<int64_t>{8, 16, 16})
      .block(block)
      .in_channels(2)
      .classes(5);
}

nn::RevNet net_of(const nn::RevNetOptions& options) {
  torch::manual_seed(1);
  nn::RevNet net(options);
  net->to(at::kDouble);
  return net;
}

/// The oracle: the same network, whose stages go through plain autograd.
Tensor plain_forward(nn::RevNetImpl& net, const Tensor& x) {
  auto y = net.stem->forward(x);
  for (std::size_t i = 0; i < net.stages.size(); ++i) {
    y = i > 0 ? net.downs[i - 1]->forward(y) : y;
    const auto halves = y.chunk(2, 1);
    const auto [y1, y2] = additive_coupling_sequence(
        net.stages[i]->branches, halves[0], halves[1]);
    y = torch::cat({y1, y2}, 1);
  }
  return net.classifier->forward(net.norm->forward(y).relu().mean({2, 3}));
}

std::vector<Tensor> gradients_of(const torch::nn::Module& module) {
  std::vector<Tensor> gradients;
  for (const Tensor& parameter : module.parameters()) {
    gradients.push_back(parameter.grad());
  }
  return gradients;
}

std::vector<std::string> names_of(const torch::nn::Module& module) {
  std::vector<std::string> names;
  for (const auto& parameter : module.named_parameters()) {
    names.push_back(parameter.key());
  }
  return names;
}

template <typename Module>
std::string printed(const Module& module) {
  std::ostringstream stream;
  stream << module;
  return stream.str();
}

class RevNetTest : public testing::TestWithParam<std::string> {
 protected:
  nn::RevNetOptions options = small(GetParam());
  nn::RevNet net = net_of(options);
  // 9 and 5 are odd: stages halve them upwards.
  Tensor x = torch::randn({3, 2, 9, 5}, at::kDouble);
};

INSTANTIATE_TEST_SUITE_P(
    BothBlocks, RevNetTest, testing::Values("basic", "bottleneck"));

TEST_P(RevNetTest, ForwardEqualsPlainAutograd) {
  auto twin = net_of(options);
  const Tensor y = net->forward(x);
  EXPECT_EQ(y.sizes(), (std::vector<int64_t>{3, 5}));
  EXPECT_TRUE(BitEqual(y, plain_forward(*twin, x)));
}

TEST_P(RevNetTest, GradientsMatchPlainAutograd) {
  auto twin = net_of(options);
  const Tensor twin_x = x.clone().requires_grad_();
  x.requires_grad_();
  weighted_sum({net->forward(x)}).backward();
  weighted_sum({plain_forward(*twin, twin_x)}).backward();
  EXPECT_TRUE(AllClose(x.grad(), twin_x.grad(), kTolerance));
  EXPECT_TRUE(AllClose(gradients_of(*net), gradients_of(*twin), kTolerance));
}

TEST_P(RevNetTest, BatchNormStatisticsOfAStepEqualPlainAutogradsToTheBit) {
  auto twin = net_of(options);
  for (int step = 0; step < 2; ++step) {
    net->forward(x).sum().backward();
    plain_forward(*twin, x).sum().backward();
  }
  EXPECT_TRUE(BitEqual(net->buffers(), twin->buffers()));
}

TEST_P(RevNetTest, EvalModeUsesTheRunningStatistics) {
  net->forward(x);
  net->eval();
  const Tensor one = x.slice(0, 0, 1);
  EXPECT_TRUE(AllClose(
      net->forward(one), net->forward(x).slice(0, 0, 1), kFloat64Tolerance));
  EXPECT_TRUE(BitEqual(net->forward(x), plain_forward(*net, x)));
}

TEST_P(RevNetTest, CloneHasDistinctParametersAndTheSameOutput) {
  net->forward(x);
  net->eval();
  const auto clone =
      std::dynamic_pointer_cast<nn::RevNetImpl>(net->clone(at::kCPU));
  ASSERT_NE(clone, nullptr);
  EXPECT_EQ(names_of(*clone), names_of(*net));
  EXPECT_TRUE(BitEqual(clone->forward(x), net->forward(x)));
  const Tensor before = net->forward(x);
  {
    torch::NoGradGuard no_grad;
    for (const Tensor& tensor : clone->parameters()) {
      tensor.zero_();
    }
    for (const Tensor& tensor : clone->buffers()) {
      tensor.zero_();
    }
  }
  EXPECT_TRUE(BitEqual(net->forward(x), before));
}

TEST_P(RevNetTest, CloneTrainsItsOwnParameters) {
  const auto clone = std::dynamic_pointer_cast<nn::RevNetImpl>(net->clone());
  clone->forward(x).sum().backward();
  for (const Tensor& parameter : clone->parameters()) {
    EXPECT_TRUE(parameter.grad().defined());
  }
  for (const Tensor& parameter : net->parameters()) {
    EXPECT_FALSE(parameter.grad().defined());
  }
}

struct AroundImpl : torch::nn::Cloneable<AroundImpl> {
  explicit AroundImpl(nn::RevNetOptions options) : options(std::move(options)) {
    reset();
  }
  void reset() override {
    net = register_module("net", nn::RevNet(options));
    net->to(at::kDouble);
  }
  nn::RevNetOptions options;
  nn::RevNet net{nullptr};
};

TEST_P(RevNetTest, ClonesWithAModuleAroundIt) {
  const AroundImpl around(options);
  const auto clone = std::dynamic_pointer_cast<AroundImpl>(around.clone());
  auto net = around.net;
  EXPECT_TRUE(BitEqual(clone->net->forward(x), net->forward(x)));
  EXPECT_TRUE(BitEqual(clone->parameters(), around.parameters()));
  EXPECT_FALSE(clone->parameters()[0].is_alias_of(around.parameters()[0]));
}

TEST_P(RevNetTest, SavesAndLoads) {
  net->forward(x);
  std::stringstream file;
  torch::save(net, file);
  nn::RevNet loaded(options);
  loaded->to(at::kDouble);
  torch::load(loaded, file);
  net->eval();
  loaded->eval();
  EXPECT_TRUE(BitEqual(loaded->forward(x), net->forward(x)));
}

TEST(RevNetModuleTest, NamesItsModules) {
  const auto net = net_of(small());
  std::vector<std::string> names;
  for (const auto& child : net->named_children()) {
    names.push_back(child.key());
  }
  const std::vector<std::string> expected = {
      "stem",
      "stage0",
      "down1",
      "stage1",
      "down2",
      "stage2",
      "norm",
      "classifier"};
  EXPECT_EQ(names, expected);
  EXPECT_EQ(net->stages[2]->size(), 2U);
}

TEST(RevNetModuleTest, PrintsItsOptions) {
  const auto text = printed(net_of(small()));
  EXPECT_TRUE(Mentions(
      text,
      {"torchrev::nn::RevNet(depths=[2, 1, 2], widths=[4, 6, 8], block=basic, "
       "classes=5)(",
       "  (stage1): torchrev::nn::ReversibleSequential(split(dim=1))(",
       "  (down2): torchrev::nn::ResidualBlock(6, 8, stride=2, "
       "block=basic)("}));
}

TEST(RevNetModuleTest, TakesAnEmptyBatchInEvalMode) {
  auto net = net_of(small());
  net->eval();
  const Tensor x = torch::randn({0, 2, 8, 8}, at::kDouble);
  EXPECT_EQ(net->forward(x).sizes(), (std::vector<int64_t>{0, 5}));
}

TEST(RevNetModuleTest, PassesOptionsToTheStages) {
  auto options = small();
  options.reversible(ReversibleOptions().split(1).store_last(1))
      .memory_budget(1024);
  const auto stage = net_of(options)->stages[1]->options;
  EXPECT_EQ(stage.reversible().store_last(), 1);
  EXPECT_EQ(stage.memory_budget(), 1024);
}

// --- Memory -----------------------------------------------------------------

int64_t bytes_of(const std::vector<Tensor>& tensors) {
  int64_t bytes = 0;
  for (const Tensor& tensor : tensors) {
    bytes += static_cast<int64_t>(tensor.nbytes());
  }
  return bytes;
}

/// The peak bytes of a step whose gradients are allocated beforehand.
int64_t peak_of_step(nn::RevNetImpl& net) {
  const Tensor x = torch::randn({4, 2, 16, 16}, at::kDouble);
  for (const Tensor& parameter : net.parameters()) {
    parameter.mutable_grad() = torch::zeros_like(parameter);
  }
  net.forward(x).sum().backward();
  const MemoryMeter meter;
  const int64_t before = meter.live();
  net.forward(x).sum().backward();
  return meter.peak() - before;
}

// What a step holds besides the copies of the running statistics that its
// first stage, in whose backward the peak lies, keeps for the recompute.
int64_t peak_without_statistics(int64_t depth) {
  auto net = net_of(small().depths({depth, depth, depth}));
  return peak_of_step(*net) - bytes_of(net->stages[0]->buffers());
}

TEST(RevNetMemoryTest, PeakIsTheSameAtEveryDepthOfTheStages) {
  const int64_t peak = peak_without_statistics(2);
  EXPECT_EQ(peak_without_statistics(4), peak);
  EXPECT_EQ(peak_without_statistics(8), peak);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
