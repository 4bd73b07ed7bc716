#include "recompute/call_record.h"

#include <torchrev/remember.h>

#include "recompute/no_trace.h"
#include "recompute/replay.h"
#include "support/autocast.h"
#include "support/support.h"

// What a call saw is recorded; a replay runs the branch again with all of it,
// and leaves everything as it found it.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::CallRecord;
using detail::NoTrace;
using detail::RandomState;
using detail::RecordOptions;
using detail::Replay;

constexpr int64_t kWidth = 4;
// Of the branch, in elements: more than 1 MiB.
constexpr int64_t kLarge = (int64_t(1) << 17) + 1;

Tensor generator_state() {
  return at::detail::getDefaultCPUGenerator().get_state();
}

Branch over_buffer(const Tensor& buffer, std::function<Tensor(Tensor)> fn) {
  return Branch::function(
      [fn](const Tensor& x, auto, auto) { return fn(x); }, {}, {buffer});
}

class CallRecordTest : public testing::Test {
 protected:
  Tensor call(CallRecord& record) const {
    return record.run({"entry", StepId{3, Role::kF}}, x, {}, {});
  }
  Tensor replay(const CallRecord& record) const {
    return Replay(record)(x, {}, {});
  }

  Tensor x = torch::randn({3, kWidth});
};

using ReplayTest = CallRecordTest;
using NoTraceTest = CallRecordTest;

TEST_F(ReplayTest, DrawsTheNumbersOfTheCall) {
  // Fewer than 16: half a pair waits in the generator.
  torch::randn({1});
  const Branch noisy = Branch::function([](const Tensor& x, auto, auto) {
    return x * torch::randn({1}) + torch::randn({3}, at::kDouble).sum();
  });
  CallRecord record(noisy, x, {});
  const auto expected = call(record);
  torch::randn({1});
  const auto state = generator_state();
  EXPECT_TRUE(BitEqual(replay(record), expected));
  EXPECT_TRUE(BitEqual(generator_state(), state));
}

// A branch that draws for the first time in its replay tells that no state was
// kept: it draws what everybody draws.
TEST_F(ReplayTest, NothingIsKeptOfACallThatDrewNothing) {
  for (const bool drew : {false, true}) {
    bool draws = drew;
    const Branch branch =
        Branch::function([&draws](const Tensor& x, auto, auto) {
          return draws ? x * torch::rand({1}) : x * 1;
        });
    CallRecord record(branch, x, {});
    call(record);
    draws = true;
    const auto state = generator_state();
    replay(record);
    EXPECT_EQ(bool(BitEqual(generator_state(), state)), drew);
  }
}

TEST_F(ReplayTest, WithoutPreserveRngStateDrawsAnew) {
  const Branch noisy = Branch::function(
      [](const Tensor& x, auto, auto) { return torch::rand_like(x); });
  RecordOptions options;
  options.preserve_rng_state = false;
  CallRecord record(noisy, x, options);
  const auto value = call(record);
  EXPECT_FALSE(BitEqual(replay(record), value));
}

TEST_F(ReplayTest, SeesAutocastAsInTheCallButItsCache) {
  std::vector<bool> cached;
  const Branch product = Branch::function([&](const Tensor& x, auto, auto) {
    cached.push_back(at::autocast::is_autocast_cache_enabled());
    return x.matmul(x.t());
  });
  for (const bool on : {false, true}) {
    cached.clear();
    std::unique_ptr<CallRecord> record;
    Tensor value;
    {
      const Autocast autocast(on);
      record = std::make_unique<CallRecord>(product, x, RecordOptions());
      value = call(*record);
      EXPECT_TRUE(at::autocast::is_autocast_cache_enabled());
    }
    const Autocast otherwise(!on);
    EXPECT_EQ(value.scalar_type(), on ? at::kBFloat16 : at::kFloat);
    EXPECT_TRUE(BitEqual(replay(*record), value));
    EXPECT_EQ(is_autocast_enabled(), !on);
    EXPECT_TRUE(at::autocast::is_autocast_cache_enabled());
    // Casts that a call without a graph caches would lose their gradient.
    EXPECT_EQ(cached, (std::vector<bool>{!on, false}));
  }
}

TEST_F(ReplayTest, SeesTheTrainingFlagOfTheCall) {
  torch::nn::Dropout dropout(0.5);
  CallRecord record(dropout, x, {});
  const auto value = call(record);
  EXPECT_FALSE(BitEqual(value, x));
  dropout->eval();
  EXPECT_TRUE(BitEqual(replay(record), value));
  EXPECT_FALSE(dropout->is_training());
}

TEST_F(ReplayTest, SeesSmallBuffersAsInTheCallForAsLongAsItLives) {
  const auto scale = torch::full({1}, 2.f);
  const auto branch =
      over_buffer(scale, [scale](const Tensor& x) { return x * scale; });
  CallRecord record(branch, x, {});
  call(record);
  scale.fill_(5);
  {
    Replay replay(record);
    EXPECT_TRUE(BitEqual(replay(x, {}, {}), x * 2));
    EXPECT_EQ(scale.item<float>(), 2);
  }
  EXPECT_EQ(scale.item<float>(), 5);
}

TEST_F(ReplayTest, WritesToNoBufferOnceMore) {
  torch::nn::BatchNorm1d norm(kWidth);
  CallRecord record(norm, x, {});
  const auto value = call(record);
  const auto mean = norm->running_mean.clone();
  EXPECT_TRUE(BitEqual(replay(record), value));
  EXPECT_TRUE(BitEqual(norm->running_mean, mean));
  EXPECT_EQ(norm->num_batches_tracked.item<int64_t>(), 1);
}

TEST_F(ReplayTest, SeesLargeBuffersAsTheyAreUnlessTheyAreDeclaredMutable) {
  const auto large = torch::full({kLarge}, 2.0, at::kDouble);
  const auto branch =
      over_buffer(large, [large](const Tensor& x) { return x * large[0]; });
  for (const bool declared : {false, true}) {
    large.fill_(2);
    CallRecord record(declared ? branch.mutable_buffers() : branch, x, {});
    call(record);
    large.fill_(5);
    EXPECT_TRUE(BitEqual(replay(record), x * (declared ? 2 : 5)));
  }
}

TEST_F(CallRecordTest, VerifiesThatLargeBuffersAreConstantIfAskedTo) {
  const auto large = torch::zeros({kLarge}, at::kDouble);
  const auto branch = over_buffer(large, [large](const Tensor& x) {
    large[7] += 1;
    return x;
  });
  RecordOptions options;
  CallRecord trusting(branch, x, options);
  EXPECT_NO_THROW(call(trusting));
  options.verify_constant_buffers = true;
  CallRecord verifying(branch, x, options);
  EXPECT_THROW_WITH(
      call(verifying),
      c10::ValueError,
      "torchrev::entry",
      "more than 1 MiB of F of block 3",
      "shape [131073]",
      "mutable_buffers()");
}

TEST_F(ReplayTest, RemembersTheDecisionsOfTheCall) {
  const Branch gate = Branch::function([](const Tensor& x, auto, auto) {
    return x * remember("positive", x > 0);
  });
  CallRecord record(gate, x, {});
  const auto value = call(record);
  EXPECT_TRUE(BitEqual(Replay(record)(-x, {}, {}), -value));
}

TEST_F(ReplayTest, ThatRemembersLessThanTheCallThrows) {
  bool remembers = true;
  const Branch branch =
      Branch::function([&remembers](const Tensor& x, auto, auto) {
        return remembers ? x * remember("positive", x > 0) : x * 1;
      });
  CallRecord record(branch, x, {});
  call(record);
  remembers = false;
  EXPECT_THROW_WITH(replay(record), c10::ValueError, "torchrev::remember");
}

TEST_F(ReplayTest, ThatThrowsLeavesEverythingAsBefore) {
  bool fail = false;
  torch::nn::BatchNorm1d norm(kWidth);
  const Branch branch = Branch::function(
      [&fail, norm](const Tensor& x, auto, auto) mutable {
        const auto y = norm->forward(x * torch::rand({1}));
        TORCH_CHECK(!fail, "stop");
        return y;
      },
      {},
      norm->buffers());
  CallRecord record(branch, x, {});
  call(record);
  fail = true;
  const auto state = generator_state();
  const auto mean = norm->running_mean.clone();
  EXPECT_THROW(replay(record), c10::Error);
  EXPECT_TRUE(BitEqual(generator_state(), state));
  EXPECT_TRUE(BitEqual(norm->running_mean, mean));
}

TEST_F(NoTraceTest, LeavesBuffersFlagsAndGeneratorAsTheyWere) {
  torch::nn::Sequential module(
      torch::nn::BatchNorm1d(kWidth), torch::nn::Dropout(0.5));
  const Branch branch = module;
  const auto mean = module->buffers()[0].clone();
  const auto state = generator_state();
  {
    const NoTrace no_trace(branch, x);
    branch(x);
    EXPECT_FALSE(BitEqual(module->buffers()[0], mean));
    module->eval();
  }
  EXPECT_TRUE(BitEqual(module->buffers()[0], mean));
  EXPECT_TRUE(BitEqual(generator_state(), state));
  EXPECT_TRUE(module->is_training());
}

TEST(RandomStateTest, TellsWhetherAnythingWasDrawn) {
  const auto before = RandomState::capture({});
  EXPECT_TRUE(before == RandomState::capture({}));
  torch::rand({1});
  EXPECT_FALSE(before == RandomState::capture({}));
  before.restore();
  EXPECT_TRUE(before == RandomState::capture({}));
}

// Of two normal numbers that the generator makes at once, one waits.
TEST(RandomStateTest, CountsANormalNumberThatWaits) {
  torch::manual_seed(0);
  torch::randn({1}, at::kDouble);
  const auto waiting = RandomState::capture({});
  const auto second = torch::randn({1}, at::kDouble);
  EXPECT_FALSE(waiting == RandomState::capture({}));
  waiting.restore();
  EXPECT_TRUE(BitEqual(torch::randn({1}, at::kDouble), second));
}

TEST(BranchStateTest, CopiesBuffersThatMayChangeAndPutsThemBack) {
  const auto small = torch::ones({2});
  const auto large = torch::ones({kLarge}, at::kDouble);
  const auto expanded = torch::ones({1}).expand({3});
  const Branch branch = Branch::function(
      [](const Tensor& x, auto, auto) { return x; },
      {},
      {small, large, expanded});
  const auto buffers = detail::buffers_of(branch);
  ASSERT_EQ(buffers.changing.size(), 1u);
  EXPECT_TRUE(buffers.changing[0].buffer.is_same(small));
  ASSERT_EQ(buffers.constant.size(), 1u);
  EXPECT_TRUE(buffers.constant[0].buffer.is_same(large));

  const detail::BranchState state{{}, detail::copies_of(buffers.changing)};
  small.zero_();
  // Autograd may have saved the buffer, as it does for batch norm.
  const auto version = small._version();
  state.restore(branch);
  EXPECT_TRUE(BitEqual(small, torch::ones({2})));
  EXPECT_EQ(small._version(), version);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
