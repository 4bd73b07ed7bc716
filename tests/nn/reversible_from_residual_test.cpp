#include <sstream>

#include "support/oracle.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 8;

// A residual network x' = x + F(x), trained or not.
struct Network {
  explicit Network(
      int64_t depth, at::ScalarType dtype = at::kFloat, uint64_t seed = 0) {
    torch::manual_seed(seed);
    for (int64_t i = 0; i < depth; ++i) {
      layers.push_back(mlp(kWidth, dtype));
    }
  }
  Tensor operator()(Tensor x) {
    for (auto& layer : layers) {
      x = x + layer->forward(x);
    }
    return x;
  }
  nn::ReversibleSequential reversible(double momentum) const {
    return nn::reversible_from_residual(
        std::vector<Branch>(layers.begin(), layers.end()), momentum);
  }
  std::vector<Tensor> parameters() const {
    std::vector<Tensor> all;
    for (const auto& layer : layers) {
      for (const auto& parameter : layer->parameters()) {
        all.push_back(parameter);
      }
    }
    return all;
  }

  std::vector<torch::nn::Sequential> layers;
};

// v' = m v + (1 - m) F(x), x' = x + v', written down once more, in float64.
Tensor momentum_network(Network& network, double m, Tensor x) {
  auto v = torch::zeros_like(x);
  for (auto& layer : network.layers) {
    v = m * v + (1 - m) * layer->forward(x);
    x = x + v;
  }
  return x;
}

std::vector<Tensor> gradients(
    const Tensor& y, const std::vector<Tensor>& variables) {
  return torch::autograd::grad({weighted_sum({y})}, variables);
}

TEST(ReversibleFromResidualTest, MomentumZeroIsTheOriginalNetworkToTheBit) {
  Network network(12);
  const auto x = torch::randn({5, kWidth}).requires_grad_();
  auto variables = network.parameters();
  variables.push_back(x);
  const auto y = network.reversible(0)->forward(x);
  const auto expected = network(x);
  EXPECT_TRUE(BitEqual(y, expected));
  EXPECT_TRUE(
      BitEqual(gradients(y, variables), gradients(expected, variables)));
}

TEST(ReversibleFromResidualTest, HoldsTheModulesThatItWasGiven) {
  const Network network(3);
  const auto stack = network.reversible(0.5);
  EXPECT_EQ(stack->size(), 3u);
  const auto parameters = stack->parameters();
  const auto expected = network.parameters();
  ASSERT_EQ(parameters.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(parameters[i].is_same(expected[i]));
  }
}

TEST(ReversibleFromResidualTest, IsTheMomentumNetwork) {
  Network network(12, at::kDouble);
  const auto x = torch::randn({5, kWidth}, at::kDouble).requires_grad_();
  auto variables = network.parameters();
  variables.push_back(x);
  for (const double momentum : {0.1, 0.5, 0.9}) {
    const auto y = network.reversible(momentum)->forward(x);
    const auto expected = momentum_network(network, momentum, x);
    EXPECT_TRUE(AllClose(y, expected, kFloat64Tolerance));
    EXPECT_TRUE(AllClose(
        gradients(y, variables), gradients(expected, variables), 1e-6));
  }
}

TEST(ReversibleFromResidualTest, SmallMomentumIsCloseToTheOriginal) {
  Network network(6);
  const auto x = torch::randn({5, kWidth});
  const auto expected = network(x);
  const auto distance = [&](double momentum) {
    const auto y = network.reversible(momentum)->forward(x);
    return (y - expected).norm().item<double>();
  };
  EXPECT_LT(distance(0.01), 0.2 * distance(0.1));
}

// The default settings hold: rebuilt in float64, in segments. One network is
// not enough to tell: with segments of a growth of 10^8 (m = 0.9), 26 of 60
// were off by more than 1e-6, and 34 were not.
TEST(ReversibleFromResidualTest, GradientsAreThoseOfPlainAutogradAtDepth256) {
  for (const uint64_t seed : {0, 1, 2, 3, 4}) {
    Network network(256, at::kFloat, seed);
    const auto x = torch::randn({5, kWidth}).requires_grad_();
    for (const double momentum : {0.1, 0.5, 0.9, 0.99}) {
      auto stack = network.reversible(momentum);
      for (const auto& block : stack->drift(x)) {
        EXPECT_LT(block.reconstruction, 1e-6) << momentum << " " << seed;
        EXPECT_LT(block.gradient, kFloat32Tolerance) << momentum << " " << seed;
      }
    }
  }
}

TEST(ReversibleFromResidualTest, KeepsLessThanTheOriginal) {
  Network network(32);
  const auto x = torch::randn({64, kWidth}).requires_grad_();
  auto stack = network.reversible(0.9);
  const auto kept = [&](const std::function<Tensor()>& forward) {
    forward();
    const auto before = MemoryMeter::live();
    const auto y = forward();
    return MemoryMeter::live() - before;
  };
  EXPECT_LT(8 * kept([&] { return stack->forward(x); }), kept([&] {
              return network(x);
            }));
}

TEST(ReversibleFromResidualTest, Trains) {
  const Network network(4);
  auto stack = network.reversible(0.9);
  torch::optim::Adam optimizer(stack->parameters(), 1e-2);
  const auto x = torch::randn({32, kWidth});
  const auto target = torch::tanh(x.roll(1, 1));
  double first = 0;
  double last = 0;
  for (int step = 0; step < 60; ++step) {
    optimizer.zero_grad();
    const auto loss = torch::mse_loss(stack->forward(x), target);
    loss.backward();
    optimizer.step();
    last = loss.item<double>();
    first = step == 0 ? last : first;
  }
  EXPECT_LT(last, 0.7 * first);
}

TEST(ReversibleFromResidualTest, ClonesPrintsAndTakesContext) {
  const Branch masked = Branch::function(
      [](const Tensor& x, at::TensorList context, at::TensorList) {
        return x * context[0];
      });
  auto stack = nn::reversible_from_residual({masked.context()}, 0);
  const auto x = torch::randn({3, 4});
  const auto mask = torch::randn({4});
  EXPECT_TRUE(BitEqual(stack->forward(x, {mask}), x + x * mask));
  std::ostringstream text;
  text << *stack;
  EXPECT_NE(text.str().find("velocity()"), std::string::npos) << text.str();
  const auto copy =
      std::dynamic_pointer_cast<nn::ReversibleSequentialImpl>(stack->clone());
  EXPECT_TRUE(BitEqual(copy->forward(x, {mask}), x + x * mask));
}

TEST(ReversibleFromResidualTest, WithoutBranchesIsTheIdentity) {
  const auto x = torch::randn({3, 4});
  EXPECT_TRUE(BitEqual(nn::reversible_from_residual({}, 0.9)->forward(x), x));
}

TEST(ReversibleFromResidualTest, MomentumOutOfRangeThrows) {
  for (const double momentum : {-0.1, 1.0}) {
    EXPECT_THROW_WITH(
        nn::reversible_from_residual({mlp(4)}, momentum),
        c10::ValueError,
        "torchrev::nn::reversible_from_residual",
        "[0, 1)");
  }
}

TEST(VelocityStreamsTest, HaveNoInverseOfOneTensor) {
  const Network network(2, at::kDouble);
  EXPECT_THROW_WITH(
      network.reversible(0.5)->inverse(torch::zeros({3, kWidth})),
      c10::ValueError,
      "velocity()");
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
