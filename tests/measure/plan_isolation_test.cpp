#include <torch/csrc/autograd/profiler_legacy.h>

#include <memory>
#include <sstream>

#include "support/autocast.h"
#include "support/support.h"

// That planning costs what it says and leaves no trace.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 8;
constexpr int64_t kPlenty = int64_t(1) << 40;

Tensor generator_state() {
  return at::detail::getDefaultCPUGenerator().get_state();
}

std::vector<Tensor> copies_of(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> copies;
  for (const Tensor& tensor : tensors) {
    copies.push_back(tensor.detach().clone());
  }
  return copies;
}

// Counts its calls.
Branch counting(const std::shared_ptr<int>& calls) {
  return Branch::function([calls](const Tensor& x, at::TensorList, auto) {
    ++*calls;
    return x.sin();
  });
}

class PlanIsolationTest : public testing::Test {
 protected:
  PlanIsolationTest() {
    torch::manual_seed(1);
  }

  static nn::ReversibleSequentialOptions plenty() {
    return nn::ReversibleSequentialOptions().memory_budget(kPlenty);
  }

  nn::ReversibleSequential stack{plenty()};
  Tensor x = torch::randn({60, 2 * kWidth}, at::kDouble).requires_grad_();
};

TEST_F(PlanIsolationTest, LeavesBuffersGeneratorsModesAndGradients) {
  torch::nn::BatchNorm1d frozen(kWidth);
  frozen->eval();
  stack->push_back(
      torch::nn::Sequential(
          torch::nn::BatchNorm1d(kWidth), torch::nn::Dropout(0.5)),
      torch::nn::Sequential(torch::nn::Linear(kWidth, kWidth), frozen));
  stack->push_back(scripted(kWidth), mlp(kWidth));
  stack->to(at::kDouble);
  const auto live = MemoryMeter::live();
  const auto buffers = copies_of(stack->buffers());
  const auto generator = generator_state();

  EXPECT_EQ(stack->plan(x).store_last, 2);

  EXPECT_TRUE(BitEqual(stack->buffers(), buffers));
  EXPECT_TRUE(BitEqual(generator_state(), generator));
  EXPECT_FALSE(frozen->is_training());
  EXPECT_TRUE(stack->is_training());
  EXPECT_FALSE(x.grad().defined());
  for (const Tensor& parameter : stack->parameters()) {
    EXPECT_FALSE(parameter.grad().defined());
  }
  const auto held = generator.nbytes();
  int64_t copied = 0;
  for (const Tensor& buffer : buffers) {
    copied += static_cast<int64_t>(buffer.nbytes());
  }
  EXPECT_EQ(MemoryMeter::live(), live + copied + int64_t(held));
}

TEST_F(PlanIsolationTest, RunsNoHooks) {
  stack->push_back(mlp(kWidth), mlp(kWidth));
  int fired = 0;
  auto leaves = stack->parameters();
  leaves.push_back(x);
  for (Tensor& leaf : leaves) {
    leaf.register_hook([&fired](const Tensor&) { ++fired; });
  }
  stack->plan(x);
  stack->options.reversible().store_last(0);
  stack->options.memory_budget(torch::nullopt);
  stack->plan(x);
  EXPECT_EQ(fired, 0);
}

// Memory reports and profilers share one slot of a thread.
TEST_F(PlanIsolationTest, IsTheSameUnderAProfiler) {
  namespace profiler = torch::autograd::profiler;
  stack->push_back(mlp(kWidth), mlp(kWidth));
  auto copy =
      std::dynamic_pointer_cast<nn::ReversibleSequentialImpl>(stack->clone());
  profiler::enableProfilerLegacy(profiler::ProfilerConfig(
      profiler::ProfilerState::CPU, false, /*profile_memory=*/true));
  const auto plan = stack->plan(x);
  profiler::disableProfilerLegacy();
  EXPECT_EQ(plan.peak_bytes, copy->plan(x).peak_bytes);
}

TEST_F(PlanIsolationTest, IsMadeOnce) {
  const auto calls = std::make_shared<int>(0);
  stack->push_back(counting(calls), counting(calls));
  stack->forward(x);
  *calls = 0;
  stack->forward(x);
  EXPECT_EQ(*calls, 2);
  stack->forward(x.detach() + 1);
  EXPECT_EQ(*calls, 4);
}

TEST_F(PlanIsolationTest, CostsNothingWithoutBackward) {
  const auto calls = std::make_shared<int>(0);
  stack->options.memory_budget(1);
  stack->push_back(counting(calls), counting(calls));
  {
    torch::NoGradGuard no_grad;
    stack->forward(x);
    EXPECT_EQ(*calls, 2);
    stack->inverse(x);
    EXPECT_EQ(*calls, 4);
  }
  stack->forward(x.detach());
  EXPECT_EQ(*calls, 6);
}

TEST_F(PlanIsolationTest, TellsTheBytesOfAForwardWithoutBackward) {
  stack->push_back(mlp(kWidth), mlp(kWidth));
  const torch::NoGradGuard no_grad;
  const auto plan = stack->plan(x);
  EXPECT_EQ(plan.store_last, 0);
  EXPECT_EQ(plan.retained_bytes, static_cast<int64_t>(x.nbytes()));
}

TEST_F(PlanIsolationTest, TakesRunningOutOfMemoryForTooMuch) {
  // More than four blocks do not fit into the machine.
  const auto most = std::make_shared<int64_t>(kPlenty);
  const auto greedy =
      Branch::function([most](const Tensor& x, at::TensorList, auto) {
        const auto y = x.sin();
        TORCH_CHECK_WITH(
            OutOfMemoryError, MemoryMeter::live() < *most, "no memory left");
        return y;
      });
  for (int i = 0; i < 8; ++i) {
    stack->push_back(greedy, greedy);
  }
  stack->options.memory_budget(torch::nullopt);
  stack->options.reversible().store_last(4);
  *most = MemoryMeter::live() + stack->plan(x).retained_bytes + 1;
  stack->options.memory_budget(kPlenty);
  const auto kept = stack->plan(x).store_last;
  EXPECT_GE(kept, 3);
  EXPECT_LE(kept, 5);
}

TEST_F(PlanIsolationTest, CountsAStackWithinABranch) {
  nn::ReversibleSequential inner(plenty());
  inner->push_back(mlp(kWidth / 2), mlp(kWidth / 2));
  stack->push_back(inner, mlp(kWidth));
  stack->push_back(inner, mlp(kWidth));
  for (Tensor parameter : stack->parameters()) {
    parameter.mutable_grad() = torch::zeros_like(parameter);
  }
  const auto plan = stack->plan(x);
  EXPECT_EQ(plan.store_last, 2);
  MemoryMeter::reset();
  const auto before = MemoryMeter::live();
  const auto y = stack->forward(x);
  EXPECT_EQ(MemoryMeter::live() - before, plan.retained_bytes);
  y.backward(torch::ones_like(y));
  EXPECT_EQ(MemoryMeter::peak() - before, plan.peak_bytes);
}

TEST_F(PlanIsolationTest, NamesTheBranchOfAnUndeclaredTensor) {
  const auto captured = torch::randn({kWidth}, at::kDouble).requires_grad_();
  stack->push_back(mlp(kWidth), mlp(kWidth));
  stack->push_back(
      mlp(kWidth), Branch::function([captured](const Tensor& x, auto, auto) {
        return x * captured;
      }));
  EXPECT_THROW_WITH(
      stack->forward(x), c10::ValueError, "to be declared", "G of block 1");
}

TEST_F(PlanIsolationTest, ChecksItsInputsFirst) {
  stack->push_back(mlp(kWidth), mlp(kWidth));
  EXPECT_THROW_WITH(stack->forward(Tensor()), c10::ValueError, "`x`");
  EXPECT_THROW_WITH(
      stack->forward(x.slice(-1, 1)), c10::ValueError, "to be even");
  EXPECT_THROW_WITH(
      stack->forward_streams(x, x.slice(-1, 1)), c10::ValueError, "one shape");
}

TEST_F(PlanIsolationTest, NeedsAnAllocatorThatReports) {
  stack->push_back(torch::nn::Tanh(), torch::nn::Tanh());
  // Tensors of this device have no memory.
  EXPECT_THROW_WITH(
      stack->plan(x.to(at::kMeta)),
      c10::ValueError,
      "the allocator of meta",
      "reportMemoryUsageToProfiler");
}

TEST_F(PlanIsolationTest, CountsTheCastsOfAutocast) {
  stack = nn::ReversibleSequential();
  stack->push_back(mlp(kWidth, at::kFloat), mlp(kWidth, at::kFloat));
  stack->push_back(mlp(kWidth, at::kFloat), mlp(kWidth, at::kFloat));
  x = torch::randn({16, 2 * kWidth});
  for (Tensor parameter : stack->parameters()) {
    parameter.mutable_grad() = torch::zeros_like(parameter);
  }
  for (int64_t kept = 0; kept <= 2; ++kept) {
    stack->options.reversible().store_last(kept);
    auto autocast = std::make_unique<Autocast>();
    const auto plan = stack->plan(x);
    MemoryMeter::reset();
    const auto before = MemoryMeter::live();
    const auto y = stack->forward(x);
    EXPECT_EQ(MemoryMeter::live() - before, plan.retained_bytes);
    autocast.reset();
    y.backward(torch::ones_like(y));
    EXPECT_EQ(MemoryMeter::peak() - before, plan.peak_bytes);
  }
}

TEST_F(PlanIsolationTest, OfAnEmptyStackIsEmpty) {
  EXPECT_EQ(stack->plan(x).blocks, 0);
  EXPECT_TRUE(BitEqual(stack->forward(x), x));
}

TEST(PlanPrintTest, NamesTheBlocksThatAreKept) {
  const auto print = [](int64_t kept) {
    std::ostringstream text;
    text << Plan{8, kept, 7340032, 12582912};
    return text.str();
  };
  EXPECT_EQ(
      print(3),
      "keeps blocks 5 to 7 of 8 (store_last = 3): 7340032 bytes after forward, "
      "12582912 at the peak, 1.21 x the time of plain autograd");
  EXPECT_EQ(print(0).find("keeps no block of 8 (store_last = 0): "), 0u);
  EXPECT_EQ(print(1).find("keeps block 7 of 8 (store_last = 1): "), 0u);
  EXPECT_EQ(print(8).find("keeps blocks 0 to 7 of 8 (store_last = 8): "), 0u);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
