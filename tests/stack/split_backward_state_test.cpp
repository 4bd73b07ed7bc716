#include "support/backward_in_parts.h"

// What parts of a backward find, keep and free. See NOTE [Inner passes].

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using torch::autograd::grad;

constexpr int64_t kWidth = 6;

class SplitBackwardStateTest : public testing::Test {
 protected:
  std::vector<Tensor> variables() const {
    std::vector<Tensor> tensors = {inputs.x1, inputs.x2};
    const auto parameters = parameters_of(blocks);
    tensors.insert(tensors.end(), parameters.begin(), parameters.end());
    return tensors;
  }
  Tensor loss_of(const Stack& stack) const {
    torch::manual_seed(3);
    const auto [y1, y2] = stack(inputs);
    return weighted_sum({y1.sin(), y2.sin()});
  }
  void expect_equals_plain(const Stack& stack, const Stack& oracle) const {
    const auto expected = grad({loss_of(oracle)}, variables());
    for (const auto order : {Order::kFirstFirst, Order::kLastFirst}) {
      EXPECT_TRUE(AllClose(
          gradients_in_parts(
              loss_of(stack),
              {inputs.x1, inputs.x2},
              parameters_of(blocks),
              order),
          expected,
          kFloat64Tolerance));
    }
  }

  Inputs inputs = random_inputs({4, kWidth});
  Blocks blocks = mlp_blocks(3, kWidth);
};

// Masks are those of forward; statistics and the generator stay as they are.
TEST_F(SplitBackwardStateTest, DropoutAndBatchNormAreReplayed) {
  const auto branch = [] {
    torch::nn::Sequential layers(
        torch::nn::Linear(torch::nn::LinearOptions(kWidth, kWidth).bias(false)),
        torch::nn::BatchNorm1d(kWidth),
        torch::nn::Dropout(0.5));
    layers->to(at::kDouble);
    return layers;
  };
  const auto buffers = [this] {
    std::vector<Tensor> copies;
    for (const auto& block : blocks) {
      for (const auto* of : {&block.f, &block.g}) {
        for (const auto& buffer : of->module()->buffers()) {
          copies.push_back(buffer.clone());
        }
      }
    }
    return copies;
  };
  blocks = {{branch(), branch()}, {branch(), branch()}};
  const auto expected = grad({loss_of(plain(blocks))}, variables());
  for (const auto order :
       {Order::kFirstFirst, Order::kLastFirst, Order::kMixed}) {
    const auto loss = loss_of(reversible(blocks));
    const auto before = buffers();
    const auto generator = at::detail::getDefaultCPUGenerator().get_state();
    EXPECT_TRUE(AllClose(
        gradients_in_parts(
            loss, {inputs.x1, inputs.x2}, parameters_of(blocks), order),
        expected,
        kFloat64Tolerance));
    EXPECT_TRUE(BitEqual(buffers(), before));
    EXPECT_TRUE(
        BitEqual(at::detail::getDefaultCPUGenerator().get_state(), generator));
  }
}

// The nodes of the last steps, which have no parameters, die with the loss.
TEST_F(SplitBackwardStateTest, StepsWhoseNodesAreGoneAreStillReplayed) {
  const Branch plain_function = Branch::function(
      [](const Tensor& x, at::TensorList context, at::TensorList) {
        return x.sin() * context[0];
      });
  const auto scaled = Branch(plain_function).context();
  inputs.context = {torch::rand({4, kWidth}, at::kDouble).requires_grad_()};
  blocks[1].g = scaled;
  blocks[2] = {scaled, torch::nn::Identity()};
  expect_equals_plain(reversible(blocks), plain(blocks));
}

TEST_F(SplitBackwardStateTest, MergedAndDuplicatedStreamsEqualPlain) {
  const auto residual = [this](const ReversibleOptions& options) -> Stack {
    return [this, options](const Inputs& x) {
      const auto y = reversible_residual(
          blocks, torch::cat({x.x1, x.x2}, -1), {}, options);
      return std::make_tuple(
          y.narrow(-1, 0, kWidth), y.narrow(-1, kWidth, kWidth));
    };
  };
  expect_equals_plain(residual({}), plain(blocks));
  blocks = mlp_blocks(3, 2 * kWidth);
  const Stack oracle = [this](const Inputs& x) {
    const auto whole = torch::cat({x.x1, x.x2}, -1);
    const auto [y1, y2] = additive_coupling_sequence(blocks, whole, whole);
    const auto y = (y1 + y2) / 2;
    return std::make_tuple(
        y.narrow(-1, 0, kWidth), y.narrow(-1, kWidth, kWidth));
  };
  expect_equals_plain(residual(ReversibleOptions().duplicate()), oracle);
}

// Each branch runs once for its own part, and once more where a part before it
// came first: the pairs on the way are kept, not rebuilt for every part.
TEST_F(SplitBackwardStateTest, NoBranchRunsMoreThanTwiceForAllParts) {
  int runs = 0;
  const auto counted = [&runs] {
    const auto scale = torch::rand({kWidth}, at::kDouble).requires_grad_();
    return Branch::function(
        [&runs](const Tensor& x, at::TensorList, at::TensorList parameters) {
          ++runs;
          return (x * parameters[0]).sin();
        },
        {scale});
  };
  blocks = {
      {counted(), counted()}, {counted(), counted()}, {counted(), counted()}};
  const auto runs_of_parts = [&](Order order) {
    const Parts parts(
        loss_of(reversible(blocks)),
        {inputs.x1, inputs.x2},
        parameters_of(blocks));
    runs = 0;
    GradientSums sums;
    for (const auto i : in_order(parts.nodes.size(), order)) {
      parts.run(i, /*retain=*/false, sums);
    }
    return runs;
  };
  EXPECT_EQ(runs_of_parts(Order::kLastFirst), 6);
  EXPECT_EQ(runs_of_parts(Order::kFirstFirst), 6 + 5);
}

// A part frees what it used; what it rebuilt for others goes with their parts.
TEST_F(SplitBackwardStateTest, PartsFreeWhatTheyKept) {
  const auto parameters = parameters_of(blocks);
  for (const auto order :
       {Order::kFirstFirst, Order::kLastFirst, Order::kMixed}) {
    const auto before = MemoryMeter::live();
    {
      Tensor loss =
          loss_of(reversible(blocks, ReversibleOptions().drift_tolerance({})));
      const Parts parts(loss, {inputs.x1, inputs.x2}, parameters);
      loss = Tensor();
      const auto held = MemoryMeter::live();
      for (const auto i : in_order(parts.nodes.size(), order)) {
        GradientSums dropped;
        parts.run(i, /*retain=*/false, dropped);
      }
      EXPECT_EQ(MemoryMeter::live(), held);
    }
    EXPECT_EQ(MemoryMeter::live(), before);
  }
}

TEST_F(SplitBackwardStateTest, PassesFromTheEndKeepNothing) {
  const Tensor loss =
      loss_of(reversible(blocks, ReversibleOptions().drift_tolerance({})));
  const auto held = MemoryMeter::live();
  {
    const Parts parts(loss, {inputs.x1, inputs.x2}, parameters_of(blocks));
    auto known = held;
    for (const auto* list : {&parts.gradients, &parts.arrived}) {
      for (const auto& tensor : *list) {
        known += static_cast<int64_t>(tensor.nbytes());
      }
    }
    EXPECT_LE(MemoryMeter::live(), known);
  }
  EXPECT_EQ(MemoryMeter::live(), held);
}

TEST_F(SplitBackwardStateTest, APartOverAFreedGraphThrows) {
  const Tensor loss = loss_of(reversible(blocks));
  const auto parameters = parameters_of(blocks);
  const Parts parts(loss, {inputs.x1, inputs.x2}, parameters);
  // Frees the end of the segment and its last step.
  grad({loss}, {parameters.back()});
  GradientSums sums;
  EXPECT_THROW(parts.run(0, false, sums), std::exception);
  EXPECT_THROW_WITH(
      parts.run(3, false, sums),
      c10::ValueError,
      "torchrev::reversible_sequence",
      "block 1",
      "after the graph was freed",
      "retain_graph");
}

TEST_F(SplitBackwardStateTest, AnOutputThatWasWrittenToThrows) {
  auto [y1, y2] = reversible(blocks)(inputs);
  const Parts parts(
      weighted_sum({y1, y2}), {inputs.x1, inputs.x2}, parameters_of(blocks));
  y1.detach().zero_();
  GradientSums sums;
  EXPECT_THROW(parts.run(3, false, sums), std::exception);
}

TEST_F(SplitBackwardStateTest, AChangedParameterOfALaterStepThrows) {
  Tensor loss = loss_of(reversible(blocks));
  const auto parameters = parameters_of(blocks);
  const Parts parts(loss, {inputs.x1, inputs.x2}, parameters);
  {
    const torch::NoGradGuard no_grad;
    parameters.back().add_(1);
  }
  GradientSums sums;
  EXPECT_THROW_WITH(parts.run(3, false, sums), c10::ValueError, "G of block 2");
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
