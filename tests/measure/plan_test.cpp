#include <memory>
#include <random>
#include <sstream>
#include <thread>

#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 8;

// What a training step of `stack` needs above its entry, where gradients have
// been allocated before.
struct Needed {
  int64_t retained;
  int64_t peak;
};

void allocate_gradients(const std::vector<Tensor>& leaves) {
  for (Tensor leaf : leaves) {
    if (leaf.requires_grad()) {
      leaf.mutable_grad() = torch::zeros_like(leaf);
    }
  }
}

std::vector<Tensor> gradients_of(const std::vector<Tensor>& leaves) {
  std::vector<Tensor> gradients;
  for (const Tensor& leaf : leaves) {
    gradients.push_back(leaf.grad());
  }
  return gradients;
}

std::vector<Tensor> leaves_of(nn::ReversibleSequential& stack, Tensor x) {
  auto leaves = stack->parameters();
  leaves.push_back(std::move(x));
  return leaves;
}

Needed train(nn::ReversibleSequential& stack, const Tensor& x) {
  allocate_gradients(leaves_of(stack, x));
  torch::manual_seed(0);
  MemoryMeter::reset();
  const auto before = MemoryMeter::live();
  const auto y = stack->forward(x);
  const auto retained = MemoryMeter::live() - before;
  y.backward(torch::ones_like(y));
  return {retained, MemoryMeter::peak() - before};
}

Needed train_with(
    nn::ReversibleSequential& stack, const Tensor& x, int64_t store_last) {
  const auto options = stack->options;
  stack->options.memory_budget(torch::nullopt);
  stack->options.reversible().store_last(store_last);
  const auto needed = train(stack, x);
  stack->options = options;
  return needed;
}

testing::AssertionResult Predicts(const Plan& plan, const Needed& needed) {
  if (plan.retained_bytes == needed.retained &&
      plan.peak_bytes == needed.peak) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure()
         << plan << ", but a step needed " << needed.retained << " and "
         << needed.peak;
}

std::string print(const Plan& plan) {
  std::ostringstream text;
  text << plan;
  return text.str();
}

// Batch norm over the positions of x [N, T, C].
struct PositionNormImpl : torch::nn::Module {
  explicit PositionNormImpl(int64_t width)
      : norm(register_module("norm", torch::nn::BatchNorm1d(width))) {}
  Tensor forward(const Tensor& x) {
    return norm->forward(x.transpose(1, 2)).transpose(1, 2);
  }
  torch::nn::BatchNorm1d norm;
};
TORCH_MODULE(PositionNorm);

class RandomStack {
 public:
  explicit RandomStack(unsigned seed) : random_(seed) {
    torch::manual_seed(seed);
    const auto width = 4 * draw(1, 4);
    const bool split = draw(0, 1) == 0;
    ReversibleOptions options;
    split ? options.split() : options.duplicate();
    options.chunks_f(draw(0, 2) == 0 ? 3 : 1);
    options.chunks_g(draw(0, 2) == 0 ? 2 : 1);
    stack = nn::ReversibleSequential(options);
    for (int64_t depth = draw(1, 8); depth > 0; --depth) {
      stack->push_back(branch(width), branch(width));
    }
    stack->to(at::kDouble);
    x = torch::randn(
        {draw(2, 4), draw(3, 12), split ? 2 * width : width}, at::kDouble);
    x.set_requires_grad(draw(0, 1) == 0);
  }

  int64_t draw(int64_t least, int64_t most) {
    return least + static_cast<int64_t>(random_() % (most - least + 1));
  }

  nn::ReversibleSequential stack = nullptr;
  Tensor x;

 private:
  Branch branch(int64_t width) {
    switch (draw(0, 4)) {
      case 0:
        return linear(width);
      case 1:
        return mlp(width);
      case 2:
        return attention(width);
      case 3:
        return torch::nn::Sequential(linear(width), torch::nn::Dropout(0.3));
      default:
        return PositionNorm(width);
    }
  }

  std::mt19937 random_;
};

class RandomStackPlanTest : public testing::TestWithParam<unsigned> {};

TEST_P(RandomStackPlanTest, KeepsTheMostBlocksWithinItsBudget) {
  RandomStack random(GetParam());
  auto& stack = random.stack;
  const auto& x = random.x;
  const auto depth = static_cast<int64_t>(stack->size());
  const auto least = train_with(stack, x, 0).peak;
  const auto most = train_with(stack, x, depth).peak;
  const auto expected = gradients_of(leaves_of(stack, x));
  const auto budget = random.draw(least, std::max(least, most));

  stack->options.memory_budget(budget);
  const auto plan = stack->plan(x);
  const auto needed = train(stack, x);
  EXPECT_TRUE(Predicts(plan, needed));
  EXPECT_EQ(plan.blocks, depth);
  EXPECT_LE(needed.peak, budget);
  if (plan.store_last < depth) {
    EXPECT_GT(train_with(stack, x, plan.store_last + 1).peak, budget);
  }
  train(stack, x);
  EXPECT_TRUE(
      AllClose(gradients_of(leaves_of(stack, x)), expected, kFloat64Tolerance));
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomStackPlanTest, testing::Range(0u, 50u));

class PlanTest : public testing::Test {
 protected:
  PlanTest() {
    torch::manual_seed(1);
    for (int i = 0; i < 4; ++i) {
      stack->push_back(mlp(kWidth), mlp(kWidth));
    }
  }

  // A budget that `kept` blocks just fit in.
  void keep(int64_t kept) {
    stack->options.memory_budget(train_with(stack, x, kept).peak);
    stack->zero_grad();
    x.mutable_grad() = Tensor();
  }

  nn::ReversibleSequential stack;
  Tensor x = torch::randn({60, 2 * kWidth}, at::kDouble).requires_grad_();
};

TEST_F(PlanTest, KeepsExactlyWhatTheBudgetAllows) {
  for (int64_t kept = 0; kept <= 4; ++kept) {
    keep(kept);
    EXPECT_EQ(stack->plan(x).store_last, kept);
    if (kept > 0) {
      stack->options.memory_budget(*stack->options.memory_budget() - 1);
      EXPECT_EQ(stack->plan(x).store_last, kept - 1);
    }
  }
}

TEST_F(PlanTest, WithoutBudgetIsTheOption) {
  stack->options.reversible().store_last(3);
  const auto plan = stack->plan(x);
  EXPECT_EQ(plan.blocks, 4);
  EXPECT_EQ(plan.store_last, 3);
  EXPECT_TRUE(Predicts(plan, train(stack, x)));
  stack->options.reversible().store_last(7);
  EXPECT_EQ(stack->plan(x).store_last, 4);
}

TEST_F(PlanTest, ForABudgetThatIsTooSmallNamesTheBytesThatAreNeeded) {
  const auto least = stack->plan(x).peak_bytes;
  stack->options.memory_budget(least - 1);
  for (int repeated = 0; repeated < 2; ++repeated) {
    EXPECT_THROW_WITH(
        stack->forward(x),
        c10::ValueError,
        "torchrev::nn::ReversibleSequential: expected option `memory_budget`",
        "at least the " + std::to_string(least) + " bytes",
        "but got " + std::to_string(least - 1));
  }
  stack->options.memory_budget(least);
  stack->forward(x);
  EXPECT_EQ(train(stack, x).peak, least);
}

TEST_F(PlanTest, DependsOnShapeModeAndWhatIsTrained) {
  stack->push_back(mlp(kWidth), torch::nn::Dropout(0.5));
  keep(2);
  const auto plan = [&] { return stack->plan(x).store_last; };
  EXPECT_EQ(plan(), 2);
  x = torch::randn({3, 2 * kWidth}, at::kDouble).requires_grad_();
  EXPECT_GT(plan(), 2);
  x = torch::randn({60, 2 * kWidth}, at::kDouble).requires_grad_();
  EXPECT_EQ(plan(), 2);
  const auto with_mask = stack->plan(x).retained_bytes;
  stack->eval();
  EXPECT_LT(stack->plan(x).retained_bytes, with_mask);
  for (Tensor parameter : stack->parameters()) {
    parameter.set_requires_grad(false);
  }
  EXPECT_GT(plan(), 2);
}

TEST_F(PlanTest, IsTheSameForACopy) {
  keep(2);
  const auto copy =
      std::dynamic_pointer_cast<nn::ReversibleSequentialImpl>(stack->clone());
  EXPECT_EQ(print(stack->plan(x)), print(copy->plan(x)));
}

TEST_F(PlanTest, IsTheSameInEveryThread) {
  keep(2);
  std::vector<int64_t> kept(3);
  std::vector<std::thread> threads;
  for (auto& item : kept) {
    threads.emplace_back([&] { item = stack->plan(x).store_last; });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(kept, std::vector<int64_t>(3, 2));
}

TEST_F(PlanTest, OfStreamsStaysWithinTheBudget) {
  keep(2);
  const auto x12 = x.detach().chunk(2, -1);
  // The first call makes the plan.
  stack->forward_streams(x12[0], x12[1]);
  allocate_gradients(stack->parameters());
  MemoryMeter::reset();
  const auto before = MemoryMeter::live();
  const auto [y1, y2] = stack->forward_streams(x12[0], x12[1]);
  EXPECT_GT(MemoryMeter::live() - before, 4 * int64_t(x.nbytes()));
  torch::autograd::backward(
      {y1, y2}, {torch::ones_like(y1), torch::ones_like(y2)});
  EXPECT_LE(MemoryMeter::peak() - before, *stack->options.memory_budget());
}

TEST_F(PlanTest, CountsContextAndSharedParameters) {
  const auto shared = attention(kWidth);
  stack = nn::ReversibleSequential();
  for (int i = 0; i < 3; ++i) {
    stack->push_back(Branch(shared).context({0}), mlp(kWidth));
  }
  x = torch::randn({2, 5, 2 * kWidth}, at::kDouble);
  Tensor mask = torch::randn({5, 5}, at::kDouble).requires_grad_();
  for (int64_t kept = 0; kept <= 3; ++kept) {
    stack->options.reversible().store_last(kept);
    const auto plan = stack->plan(x, {mask});
    allocate_gradients(stack->parameters());
    MemoryMeter::reset();
    const auto before = MemoryMeter::live();
    const auto y = stack->forward(x, {mask});
    const auto retained = MemoryMeter::live() - before;
    y.backward(torch::ones_like(y));
    EXPECT_TRUE(Predicts(plan, {retained, MemoryMeter::peak() - before}));
    mask.mutable_grad() = Tensor();
  }
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
