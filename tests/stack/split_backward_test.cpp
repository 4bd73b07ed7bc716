#include "support/backward_in_parts.h"

// See NOTE [Inner passes].

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using torch::autograd::grad;
using torch::autograd::impl::gradient_edge;

constexpr int64_t kWidth = 6;

struct Case {
  std::string name;
  ReversibleOptions options;
  int64_t widths = 1;
};

void PrintTo(const Case& c, std::ostream* stream) {
  *stream << c.name;
}

torch::nn::Sequential branch(int64_t widths = 1) {
  torch::nn::Sequential layers(
      torch::nn::LayerNorm(torch::nn::LayerNormOptions({kWidth})),
      torch::nn::Linear(kWidth, widths * kWidth),
      torch::nn::Tanh());
  layers->to(at::kDouble);
  return layers;
}

class SplitBackwardTest : public testing::TestWithParam<Case> {
 protected:
  SplitBackwardTest() {
    torch::manual_seed(0);
    const auto widths = GetParam().widths;
    for (int i = 0; i < 3; ++i) {
      blocks.push_back({branch(widths), branch(widths)});
    }
  }

  Tensor loss_of(const Stack& stack) const {
    const auto [y1, y2] = stack(inputs);
    return weighted_sum({y1.sin(), y2.sin()});
  }
  std::vector<Tensor> variables() const {
    std::vector<Tensor> tensors = {inputs.x1, inputs.x2};
    const auto parameters = parameters_of(blocks);
    tensors.insert(tensors.end(), parameters.begin(), parameters.end());
    return tensors;
  }
  void expect_equal_in_any_order(
      const Stack& stack, const Stack& oracle) const {
    const auto expected = grad({loss_of(oracle)}, variables());
    for (const auto order :
         {Order::kFirstFirst, Order::kLastFirst, Order::kMixed}) {
      EXPECT_TRUE(AllClose(
          gradients_in_parts(
              loss_of(stack),
              {inputs.x1, inputs.x2},
              parameters_of(blocks),
              order),
          expected,
          kFloat64Tolerance))
          << "order " << static_cast<int>(order);
    }
  }

  // Blocks 1 and 2, whose couplings look at no numbers of theirs.
  std::tuple<Tensor, Tensor> plain_rest(
      const Tensor& x1, const Tensor& x2) const {
    return plain({blocks[1], blocks[2]}, options)({x1, x2, {}});
  }

  const ReversibleOptions& options = GetParam().options;
  Blocks blocks;
  Inputs inputs = random_inputs({3, kWidth});
};

TEST_P(SplitBackwardTest, PartsInAnyOrderEqualPlainAutograd) {
  expect_equal_in_any_order(
      reversible(blocks, options), plain(blocks, options));
}

TEST_P(SplitBackwardTest, PartsOfAnInverseEqualPlainAutograd) {
  expect_equal_in_any_order(
      reversible_inverse(blocks, options), plain_inverse(blocks, options));
}

// And a part may come again, and be followed by a pass over all.
TEST_P(SplitBackwardTest, PartsMayRetainTheGraph) {
  const auto parameters = parameters_of(blocks);
  const auto expected = grad({loss_of(plain(blocks, options))}, variables());
  const Tensor loss = loss_of(reversible(blocks, options));
  const Parts parts(loss, {inputs.x1, inputs.x2}, parameters);
  for (int repeated = 0; repeated < 2; ++repeated) {
    GradientSums sums;
    for (const auto i : in_order(parts.nodes.size(), Order::kMixed)) {
      parts.run(i, /*retain=*/true, sums);
    }
    EXPECT_TRUE(AllClose(
        sums.of(parameters),
        {expected.begin() + 2, expected.end()},
        kFloat64Tolerance));
  }
  EXPECT_TRUE(AllClose(grad({loss}, variables()), expected, kFloat64Tolerance));
}

// The passes of a graph that is cut at G of block 0, none of which retains it:
// what the first one frees is not what the second one runs.
TEST_P(SplitBackwardTest, APassThatEndsAtAStepLeavesItItsPair) {
  const auto lower = [this] {
    auto tensors = parameters_of({blocks[0]});
    tensors.insert(tensors.end(), {inputs.x1, inputs.x2});
    return tensors;
  }();
  Tensor loss = loss_of(reversible(blocks, options));
  const auto nodes = users_of(loss, parameters_of(blocks));
  const Edge cut(nodes[nodes.size() - 2], 0);
  const auto at_cut =
      pass({gradient_edge(loss)}, {torch::ones_like(loss)}, {cut}, false);
  loss = Tensor();
  edge_list ends;
  for (const auto& tensor : lower) {
    ends.push_back(gradient_edge(tensor));
  }
  const auto found = pass({cut}, at_cut, ends, false);

  const auto [a1, a2] = plain({blocks[0]}, options)(inputs);
  const auto b1 = a1.detach();
  const auto b2 = a2.detach().requires_grad_();
  const auto [y1, y2] = plain_rest(b1, b2);
  const auto expected_at_cut = grad({weighted_sum({y1.sin(), y2.sin()})}, {b2});
  EXPECT_TRUE(AllClose(at_cut, expected_at_cut, kFloat64Tolerance));
  EXPECT_TRUE(
      AllClose(found, grad({a2}, lower, expected_at_cut), kFloat64Tolerance));
}

INSTANTIATE_TEST_SUITE_P(
    Each,
    SplitBackwardTest,
    testing::Values(
        Case{"additive", {}},
        Case{"momentum", ReversibleOptions().coupling(momentum_coupling(0.9))},
        Case{"affine", ReversibleOptions().coupling(affine_coupling()), 2},
        Case{
            "in_chunks",
            ReversibleOptions().chunks_f(2).chunks_g(3).chunk_dim(0)},
        Case{"save_every", ReversibleOptions().save_every(2)},
        Case{"store_last", ReversibleOptions().store_last(1)},
        Case{
            "without_guard",
            ReversibleOptions().drift_tolerance(torch::nullopt)}),
    [](const auto& info) { return info.param.name; });

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
