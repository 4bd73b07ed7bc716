#include <torchrev/torchrev.h>

#include "support/oracle.h"

// What a branch finds when it asks: in forward, in a recompute, and where its
// step is undone without a gradient, what plain autograd shows it.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using torch::autograd::grad;

constexpr int64_t kWidth = 4;

// forward is `body`, which may use a parameter and a buffer.
struct UnitImpl : torch::nn::Module {
  using Body = std::function<Tensor(UnitImpl&, const Tensor&)>;

  explicit UnitImpl(Body body)
      : body(std::move(body)),
        weight(register_parameter(
            "weight", torch::linspace(1, 2, kWidth, at::kDouble))),
        count(register_buffer("count", torch::zeros({}, at::kDouble))) {}
  Tensor forward(const Tensor& x) {
    return body(*this, x);
  }
  Body body;
  Tensor weight, count;
};
TORCH_MODULE(Unit);

Tensor plain_body(UnitImpl& self, const Tensor& x) {
  return (x * self.weight).tanh();
}

class RebuiltBranchesTest : public testing::Test {
 protected:
  static Blocks blocks_of(const UnitImpl::Body& body) {
    return {
        {Unit(plain_body), Unit(body)},
        {Unit(body), Unit(plain_body)},
        {Unit(plain_body), Unit(body)}};
  }
  // Only y1 reaches the loss, so that the last step is undone.
  std::vector<Tensor> gradients(const Stack& stack, const Blocks& blocks) {
    auto wanted = parameters_of(blocks);
    wanted.insert(wanted.end(), {inputs.x1, inputs.x2});
    const auto [y1, y2] = stack(inputs);
    return grad({weighted_sum({y1.sin()})}, wanted, {}, false, false, true);
  }
  void expect_matches_plain(
      const UnitImpl::Body& body,
      const ReversibleOptions& options = {},
      double tolerance = kFloat64Tolerance) {
    const auto ours = blocks_of(body), plains = blocks_of(body);
    for (const auto* blocks : {&ours, &plains}) {
      for (const auto& block : *blocks) {
        block.f.module()->to(inputs.x1.scalar_type());
        block.g.module()->to(inputs.x1.scalar_type());
      }
    }
    for (int step = 0; step < 3; ++step) {
      EXPECT_TRUE(AllClose(
          gradients(reversible(ours, options), ours),
          gradients(plain(plains, options), plains),
          tolerance));
    }
  }

  Inputs inputs = random_inputs({6, kWidth});
};

TEST_F(RebuiltBranchesTest, GradModeIsOnWhereAStepIsUndone) {
  expect_matches_plain([](UnitImpl& self, const Tensor& x) {
    return at::GradMode::is_enabled() ? plain_body(self, x) : x.sin();
  });
}

Tensor asks_whether_its_input_requires_grad(UnitImpl& self, const Tensor& x) {
  return x.requires_grad() ? plain_body(self, x) : x.sin();
}

TEST_F(RebuiltBranchesTest, InputRequiresGradWhereAStepIsUndone) {
  expect_matches_plain(asks_whether_its_input_requires_grad);
}

TEST_F(RebuiltBranchesTest, InputRequiresGradInChunks) {
  expect_matches_plain(
      asks_whether_its_input_requires_grad,
      ReversibleOptions().chunks_f(2).chunks_g(3).chunk_dim(0));
}

TEST_F(RebuiltBranchesTest, InputRequiresGradWhereItIsCastFromAWiderStream) {
  inputs = random_inputs({6, kWidth}, at::kFloat);
  expect_matches_plain(
      asks_whether_its_input_requires_grad,
      ReversibleOptions().stream_dtype(at::kDouble),
      kFloat32Tolerance);
}

Tensor differentiates(UnitImpl& self, const Tensor& x) {
  if (!x.requires_grad()) {
    return plain_body(self, x);
  }
  return grad({(x * self.weight).sin().sum()}, {x}, {}, true, true)[0];
}

TEST_F(RebuiltBranchesTest, BranchThatDifferentiatesMayBeUndone) {
  expect_matches_plain(differentiates);
}

TEST_F(RebuiltBranchesTest, BranchMayDifferentiateInChunks) {
  expect_matches_plain(
      differentiates, ReversibleOptions().chunks_f(2).chunks_g(3).chunk_dim(0));
}

// Handles of a parameter come and go: that is no assignment to a member.
TEST_F(RebuiltBranchesTest, HandlesThatAreGoneAreNoReplacedParameter) {
  const auto blocks = blocks_of(plain_body);
  auto handles = parameters_of(blocks);
  const auto expected = gradients(plain(blocks), blocks);
  for (const bool first : {true, false}) {
    const auto wanted = parameters_of(blocks);
    auto held = handles;
    const auto [y1, y2] = reversible(blocks)(inputs);
    const auto loss = weighted_sum({y1.sin()});
    held.clear();
    handles.clear();
    const auto found = grad({loss}, {inputs.x1, inputs.x2});
    EXPECT_TRUE(AllClose(
        found, {expected.end() - 2, expected.end()}, kFloat64Tolerance))
        << first;
  }
}

// One that a member lost is, also where its step is undone.
TEST_F(RebuiltBranchesTest, ParameterThatAMemberLosesIsAnErrorThere) {
  Unit g(plain_body);
  const Blocks blocks = {
      {Unit(plain_body), Unit(plain_body)}, {Unit(plain_body), g}};
  const auto [y1, y2] = reversible(blocks)(inputs);
  g->weight = (2 * g->weight).detach();
  EXPECT_THROW_WITH(
      grad({weighted_sum({y1.sin()})}, {inputs.x1}),
      c10::ValueError,
      "torchrev::reversible_sequence",
      "G of block 1",
      "all backward");
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
