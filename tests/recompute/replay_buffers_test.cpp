#include <torchrev/torchrev.h>

#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 6;

torch::nn::Sequential normalised(torch::optional<double> momentum) {
  torch::nn::Sequential module(
      torch::nn::BatchNorm1d(
          torch::nn::BatchNorm1dOptions(kWidth).momentum(momentum)),
      torch::nn::Linear(kWidth, kWidth));
  module->to(at::kDouble);
  return module;
}

// Counts its calls, and its output depends on the count.
struct CounterImpl : torch::nn::Cloneable<CounterImpl> {
  CounterImpl() {
    reset();
  }
  void reset() override {
    count = register_buffer("count", torch::zeros({1}, at::kDouble));
    weight = register_parameter("weight", torch::ones({kWidth}, at::kDouble));
  }
  Tensor forward(const Tensor& x) {
    count.add_(1);
    return (x * weight).tanh() / count.detach().clone();
  }
  Tensor count, weight;
};
TORCH_MODULE(Counter);

// A large buffer that forward writes to without saying so.
struct LargeImpl : torch::nn::Cloneable<LargeImpl> {
  LargeImpl() {
    reset();
  }
  void reset() override {
    large = register_buffer("large", torch::zeros({1 << 18}, at::kDouble));
  }
  Tensor forward(const Tensor& x) {
    large.add_(1);
    return x.tanh() * large[0].clone();
  }
  Tensor large;
};
TORCH_MODULE(Large);

torch::jit::Module replacing_counter() {
  torch::jit::Module module("Replacing");
  module.register_buffer("count", torch::zeros({1}, at::kDouble));
  module.register_attribute("calls", c10::IntType::get(), 0);
  module.define(R"(
    def forward(self, x):
        self.count = self.count + 1
        self.calls += 2
        return torch.tanh(x) / self.count * float(self.calls)
  )");
  return module;
}

std::vector<Tensor> buffers_of(const Blocks& blocks) {
  std::vector<Tensor> buffers;
  for (const BranchPair& block : blocks) {
    for (const Branch& branch : {block.f, block.g}) {
      const auto own = branch.buffers();
      buffers.insert(buffers.end(), own.begin(), own.end());
    }
  }
  return buffers;
}

Blocks cloned(const Blocks& blocks) {
  Blocks copies;
  for (const BranchPair& block : blocks) {
    copies.push_back({block.f.clone(), block.g.clone()});
  }
  return copies;
}

// Buffers that a branch writes to: changed once a step, as in the plain stack,
// and in the recompute what they were in forward.
class ReplayBuffersTest : public testing::Test {
 protected:
  // Two steps of both stacks, of which the second starts from changed buffers.
  void expect_matches_plain(const Blocks& blocks) {
    const Blocks twin = cloned(blocks);
    for (int step = 0; step < 2; ++step) {
      EXPECT_TRUE(Matches(
          train(reversible(blocks), inputs, parameters_of(blocks)),
          train(plain(twin), inputs, parameters_of(twin)),
          kFloat64Tolerance));
      EXPECT_TRUE(BitEqual(buffers_of(blocks), buffers_of(twin)));
    }
  }

  Inputs inputs = random_inputs({7, kWidth});
};

TEST_F(ReplayBuffersTest, BatchNormWithMomentumIsCountedOnce) {
  expect_matches_plain(
      {{normalised(0.1), normalised(0.3)}, {normalised(0.1), normalised(0.1)}});
}

TEST_F(ReplayBuffersTest, BatchNormWithCumulativeAverageIsCountedOnce) {
  expect_matches_plain(
      {{normalised(torch::nullopt), normalised(torch::nullopt)}});
}

// Rows of a zero mean leave the running mean as it is. Rebuilt ones do not.
TEST_F(ReplayBuffersTest, BatchNormThatLeavesItsMeanAsItIsIsCountedOnce) {
  torch::nn::BatchNorm1d norm(kWidth);
  const auto x1 = torch::rand({2, kWidth}, torch::requires_grad());
  const auto row = torch::rand({1, kWidth});
  const auto x2 = torch::cat({row, -row});
  const auto [y1, y2] =
      reversible_block(norm, torch::nn::Linear(kWidth, kWidth), x1, x2);
  const auto mean = norm->running_mean.clone();
  EXPECT_TRUE(torch::equal(mean, torch::zeros({kWidth})));
  (y1 * y2).sum().backward();
  EXPECT_TRUE(torch::equal(norm->running_mean, mean));
  EXPECT_EQ(norm->num_batches_tracked.item<int64_t>(), 1);
}

TEST_F(ReplayBuffersTest, BatchNormInEvalModeIsReplayed) {
  const Blocks blocks = {{normalised(0.1), normalised(0.1)}};
  train(plain(blocks), inputs, parameters_of(blocks));
  for (const BranchPair& block : blocks) {
    block.f.module()->eval();
    block.g.module()->eval();
  }
  expect_matches_plain(blocks);
}

TEST_F(ReplayBuffersTest, OutputThatDependsOnAnUpdatedBufferIsReplayed) {
  expect_matches_plain({{Counter(), Counter()}, {Counter(), linear(kWidth)}});
}

TEST_F(ReplayBuffersTest, BufferOfASharedBranchIsReplayedPlaceByPlace) {
  const Branch shared = Counter();
  const Branch twin = shared.clone();
  const Blocks blocks = {{shared, shared}, {shared, shared}};
  const Blocks twins = {{twin, twin}, {twin, twin}};
  EXPECT_TRUE(Matches(
      train(reversible(blocks), inputs, parameters_of(blocks)),
      train(plain(twins), inputs, parameters_of(twins)),
      kFloat64Tolerance));
  EXPECT_TRUE(BitEqual(shared.buffers(), twin.buffers()));
}

TEST_F(ReplayBuffersTest, AttributesThatAScriptAssignsAreReplayed) {
  expect_matches_plain({{replacing_counter(), replacing_counter()}});
}

TEST_F(ReplayBuffersTest, TwoForwardsBeforeBackwardReplayTheirOwnBuffers) {
  const Blocks blocks = {{Counter(), Counter()}};
  const Blocks twin = cloned(blocks);
  const auto twice = [](const Stack& stack) -> Stack {
    return [stack](const Inputs& in) {
      const auto [a1, a2] = stack(in);
      const auto [b1, b2] = stack(in);
      return std::make_tuple(a1 * b1, a2 * b2);
    };
  };
  EXPECT_TRUE(Matches(
      train(twice(reversible(blocks)), inputs, parameters_of(blocks)),
      train(twice(plain(twin)), inputs, parameters_of(twin)),
      kFloat64Tolerance));
  EXPECT_TRUE(BitEqual(buffers_of(blocks), buffers_of(twin)));
}

TEST_F(ReplayBuffersTest, ForwardWithoutBackwardCountsOnce) {
  const Blocks blocks = {{Counter(), normalised(0.1)}};
  const Blocks twin = cloned(blocks);
  reversible(blocks)(inputs);
  plain(twin)(inputs);
  EXPECT_TRUE(BitEqual(buffers_of(blocks), buffers_of(twin)));
}

TEST_F(ReplayBuffersTest, ForwardThatThrowsHalfWayLeavesThePlainState) {
  const Branch failing =
      Branch::function([](const Tensor& x, at::TensorList, at::TensorList) {
        TORCH_CHECK(x.size(0) == 0, "stop");
        return x;
      });
  const Blocks blocks = {{Counter(), normalised(0.1)}, {failing, Counter()}};
  const Blocks twin = cloned(blocks);
  EXPECT_THROW(reversible(blocks)(inputs), c10::Error);
  EXPECT_THROW(plain(twin)(inputs), c10::Error);
  EXPECT_TRUE(BitEqual(buffers_of(blocks), buffers_of(twin)));
}

TEST_F(ReplayBuffersTest, RecomputeThatThrowsPutsBuffersBack) {
  Counter counter;
  bool fail = false;
  const Branch branch = Branch::function(
      [&](const Tensor& x, at::TensorList, at::TensorList) {
        const Tensor out = counter->forward(x).detach();
        TORCH_CHECK(!fail, "stop");
        return out;
      },
      {},
      {counter->count});
  const auto [y1, y2] =
      reversible_block(branch, linear(kWidth), inputs.x1, inputs.x2);
  counter->count.fill_(41);
  fail = true;
  EXPECT_THROW(weighted_sum({y1, y2}).backward(), c10::Error);
  EXPECT_EQ(counter->count.item<double>(), 41);
}

TEST_F(ReplayBuffersTest, EvalModeSetAfterForwardDoesNotReachTheRecompute) {
  const Blocks blocks = {{normalised(0.1), normalised(0.1)}};
  const Blocks twin = cloned(blocks);
  const auto then_eval = [](const Stack& stack, const Blocks& of) -> Stack {
    return [stack, of](const Inputs& in) {
      const auto y = stack(in);
      of[0].f.module()->eval();
      of[0].g.module()->eval();
      return y;
    };
  };
  EXPECT_TRUE(Matches(
      train(
          then_eval(reversible(blocks), blocks), inputs, parameters_of(blocks)),
      train(then_eval(plain(twin), twin), inputs, parameters_of(twin)),
      kFloat64Tolerance));
  EXPECT_FALSE(blocks[0].f.module()->is_training());
  EXPECT_TRUE(BitEqual(buffers_of(blocks), buffers_of(twin)));
}

TEST_F(ReplayBuffersTest, LargeBufferIsCopiedWhereItIsDeclaredMutable) {
  const auto retained = [this](const Branch& branch, bool option) {
    const auto before = MemoryMeter::live();
    const auto y = reversible_block(
        branch,
        linear(kWidth),
        inputs.x1,
        inputs.x2,
        {},
        ReversibleOptions().mutable_buffers(option));
    return MemoryMeter::live() - before;
  };
  const Branch branch = Large();
  const auto bytes = static_cast<int64_t>(branch.buffers()[0].nbytes());
  EXPECT_GE(retained(branch.mutable_buffers(), false), bytes);
  EXPECT_GE(retained(branch, true), bytes);
}

TEST_F(ReplayBuffersTest, NothingIsKeptOfBuffersThatForwardLeavesAlone) {
  const auto step_bytes = [this](const Tensor& mask) {
    const Branch branch = Branch::function(
        [mask](const Tensor& x, auto, auto) { return x * mask.sum(); },
        {},
        {mask});
    const auto before = MemoryMeter::live();
    const auto y =
        reversible_block(branch, linear(kWidth), inputs.x1, inputs.x2);
    return MemoryMeter::live() - before;
  };
  const auto without = step_bytes(torch::ones({1}, at::kDouble));
  EXPECT_EQ(step_bytes(torch::ones({1 << 17}, at::kDouble)), without);
  EXPECT_EQ(step_bytes(torch::ones({1 << 18}, at::kDouble)), without);
}

TEST_F(ReplayBuffersTest, LargeBufferDeclaredMutableIsReplayed) {
  expect_matches_plain({{Branch(Large()).mutable_buffers(), linear(kWidth)}});
}

TEST_F(ReplayBuffersTest, LargeBufferThatIsNotConstantIsFoundAtTheFirstCall) {
  EXPECT_THROW_WITH(
      reversible_block(Large(), linear(kWidth), inputs.x1, inputs.x2),
      c10::ValueError,
      "F of block 0",
      "mutable_buffers");
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
