#include <memory>

#include "support/oracle.h"

// The inverse in autograd's ways, and its bytes.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using torch::autograd::grad;

constexpr int64_t kWidth = 5;

class InverseAutogradTest : public testing::Test {
 protected:
  Tensor loss_of(const Stack& stack) const {
    const auto [x1, x2] = stack(inputs);
    return weighted_sum({x1.sin(), x2.sin()});
  }
  std::vector<Tensor> variables() const {
    auto tensors = parameters_of(blocks);
    tensors.insert(tensors.end(), {inputs.x1, inputs.x2});
    return tensors;
  }

  Inputs inputs = random_inputs({3, kWidth});
  Blocks blocks = mlp_blocks(3, kWidth);
};

TEST_F(InverseAutogradTest, RetainGraphAllowsRepeatedAndPartialGrad) {
  const auto wanted = variables();
  const auto expected = grad({loss_of(plain_inverse(blocks))}, wanted);
  const Tensor loss = loss_of(reversible_inverse(blocks));
  for (std::size_t i = wanted.size(); i-- > 0;) {
    EXPECT_TRUE(AllClose(
        grad({loss}, {wanted[i]}, {}, true)[0],
        expected[i],
        kFloat64Tolerance));
  }
  for (const bool retain : {true, false}) {
    EXPECT_TRUE(AllClose(
        grad({loss}, wanted, {}, retain), expected, kFloat64Tolerance));
  }
  EXPECT_THROW(loss.backward(), std::exception);
}

TEST_F(InverseAutogradTest, HessianVectorProductEqualsPlainAutograd) {
  const auto wanted = variables();
  std::vector<Tensor> vectors;
  for (const Tensor& variable : wanted) {
    vectors.push_back(torch::randn_like(variable));
  }
  const auto product = [&](const Stack& stack) {
    const auto first = grad({loss_of(stack)}, wanted, {}, true, true);
    return grad(first, wanted, vectors, false, false, true);
  };
  EXPECT_TRUE(AllClose(
      product(reversible_inverse(blocks)),
      product(plain_inverse(blocks)),
      kFloat64Tolerance));
}

TEST_F(InverseAutogradTest, FrozenParametersAndBlocksMatchPlain) {
  for (const auto& frozen : {blocks[1].f, blocks[2].f, blocks[2].g}) {
    for (const auto& parameter : frozen.parameters()) {
      parameter.requires_grad_(false);
    }
    EXPECT_TRUE(InverseMatchesOracle(blocks, inputs));
  }
  inputs.x1.requires_grad_(false);
  inputs.x2.requires_grad_(false);
  EXPECT_TRUE(InverseMatchesOracle(blocks, inputs));
}

TEST_F(InverseAutogradTest, ContextThatRequiresGradGetsIt) {
  const Branch branch = Branch::function([](const Tensor& x,
                                            at::TensorList context,
                                            at::TensorList) {
                          return (x * context[0]).sin();
                        }).context();
  inputs.context = {torch::rand({3, kWidth}, at::kDouble).requires_grad_()};
  EXPECT_TRUE(
      InverseMatchesOracle({{branch, blocks[0].f}, {branch, branch}}, inputs));
}

// Of each inverse: its masks and its statistics are those of plain autograd,
// and backward draws and counts nothing.
TEST_F(InverseAutogradTest, DropoutAndBatchNormMatchPlain) {
  const auto branch = [] {
    torch::nn::Sequential layers(
        torch::nn::Linear(torch::nn::LinearOptions(kWidth, kWidth).bias(false)),
        torch::nn::BatchNorm1d(kWidth),
        torch::nn::Dropout(0.5));
    layers->to(at::kDouble);
    return layers;
  };
  const auto make = [&] {
    torch::manual_seed(7);
    return Blocks{{branch(), branch()}, {branch(), branch()}};
  };
  const auto run = [&](const Blocks& own, const Stack& inverse) {
    auto tensors = train(inverse, inputs, parameters_of(own)).gradients;
    tensors.push_back(torch::rand({1}));
    for (const auto& block : own) {
      for (const auto* of : {&block.f, &block.g}) {
        for (const auto& buffer : of->module()->buffers()) {
          tensors.push_back(buffer.to(at::kDouble));
        }
      }
    }
    return tensors;
  };
  const auto ours = make();
  const auto plains = make();
  EXPECT_TRUE(AllClose(
      run(ours, reversible_inverse(ours)),
      run(plains, plain_inverse(plains)),
      kFloat64Tolerance));
}

TEST_F(InverseAutogradTest, UndeclaredTensorThrows) {
  const Tensor scale = torch::ones({1}, at::kDouble).requires_grad_();
  const Branch captures = Branch::function(
      [scale](const Tensor& x, at::TensorList, at::TensorList) {
        return x * scale;
      });
  EXPECT_THROW_WITH(
      loss_of(reversible_inverse({{captures, captures}})).backward(),
      c10::ValueError,
      "torchrev::reversible_sequence_inverse",
      "G of block 0",
      "declared");
}

TEST_F(InverseAutogradTest, ChangedParameterAndOutputThrow) {
  const Tensor loss = loss_of(reversible_inverse(blocks));
  {
    const torch::NoGradGuard no_grad;
    parameters_of(blocks)[0].mul_(2);
  }
  EXPECT_THROW_WITH(
      loss.backward(),
      c10::ValueError,
      "torchrev::reversible_sequence_inverse",
      "F of block 0");
  auto [x1, x2] = reversible_inverse(blocks)(inputs);
  const Tensor other = weighted_sum({x1, x2});
  x1.detach().zero_();
  EXPECT_THROW(other.backward(), std::exception);
}

// A branch whose second run gives something else.
TEST_F(InverseAutogradTest, DriftIsNoticedAndNamesTheBlock) {
  const auto runs = std::make_shared<int>(0);
  const Branch unsteady =
      Branch::function([runs](const Tensor& x, at::TensorList, at::TensorList) {
        return x * static_cast<double>(++*runs);
      });
  const Blocks drifting = {
      blocks[0], {unsteady, blocks[1].g}, blocks[2], blocks[1]};
  EXPECT_THROW_WITH(
      loss_of(reversible_inverse(
                  drifting, ReversibleOptions().verify_first_call(false)))
          .backward(),
      c10::ValueError,
      "torchrev::reversible_sequence_inverse",
      "after block 1",
      "drift_tolerance");
}

// Peak bytes of a step of the inverse above what lives before it, and what it
// keeps besides its outputs.
struct Bytes {
  int64_t peak;
  int64_t kept;
};

Bytes bytes_of(int64_t depth, const Stack& stack) {
  const auto inputs = random_inputs({64, kWidth});
  const auto step = [&] {
    const auto before = MemoryMeter::live();
    const auto [x1, x2] = stack(inputs);
    const auto kept = MemoryMeter::live() - before -
                      static_cast<int64_t>(x1.nbytes() + x2.nbytes());
    grad({x1.sum() + x2.sum()}, {inputs.x1, inputs.x2});
    return kept;
  };
  step();
  const MemoryMeter meter;
  const auto before = MemoryMeter::live();
  const auto kept = step();
  EXPECT_EQ(MemoryMeter::live(), before) << "depth " << depth;
  return {MemoryMeter::peak() - before, kept};
}

TEST(InverseMemoryTest, PeakIsTheSameAtEveryDepth) {
  const auto unguarded = ReversibleOptions().drift_tolerance(torch::nullopt);
  for (const auto& options :
       {unguarded,
        ReversibleOptions(unguarded).coupling(momentum_coupling(0.9))}) {
    const auto at_depth = [&](int64_t depth) {
      return bytes_of(
          depth, reversible_inverse(mlp_blocks(depth, kWidth), options));
    };
    const auto few = at_depth(4);
    EXPECT_EQ(few.kept, 0);
    for (const int64_t depth : {16, 64}) {
      EXPECT_EQ(at_depth(depth).peak, few.peak);
      EXPECT_EQ(at_depth(depth).kept, 0);
    }
    const auto plain_bytes =
        bytes_of(16, plain_inverse(mlp_blocks(16, kWidth), options));
    EXPECT_LT(few.peak, plain_bytes.peak / 4);
  }
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
