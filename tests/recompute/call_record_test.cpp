#include "recompute/call_record.h"

#include <torchrev/remember.h>

#include "compat.h"
#include "recompute/replay.h"
#include "support/autocast.h"
#include "support/support.h"

// What a call saw is recorded; a replay runs the branch again with all of it,
// and leaves everything as it found it.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::CallRecord;
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
    auto value = record.run(x, {}, {});
    record.settle();
    return value;
  }
  Tensor replay(const CallRecord& record) const {
    return Replay(record)(x, {}, {});
  }

  const detail::Place place = {"entry", StepId{3, Role::kF}};
  Tensor x = torch::randn({3, kWidth});
};

using ReplayTest = CallRecordTest;

TEST_F(ReplayTest, DrawsTheNumbersOfTheCall) {
  // Fewer than 16: half a pair waits in the generator.
  torch::randn({1});
  const Branch noisy = Branch::function([](const Tensor& x, auto, auto) {
    return x * torch::randn({1}) + torch::randn({3}, at::kDouble).sum();
  });
  CallRecord record(place, noisy, x, {});
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
    CallRecord record(place, branch, x, {});
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
  CallRecord record(place, noisy, x, options);
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
      record = std::make_unique<CallRecord>(place, product, x, RecordOptions());
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
  CallRecord record(place, dropout, x, {});
  const auto value = call(record);
  EXPECT_FALSE(BitEqual(value, x));
  dropout->eval();
  EXPECT_TRUE(BitEqual(replay(record), value));
  EXPECT_FALSE(dropout->is_training());
}

TEST_F(ReplayTest, SeesChangedBuffersAsInTheCallAndOthersSeeNothingOfIt) {
  const auto scale = torch::full({1}, 2.f);
  const auto branch = over_buffer(scale, [scale](const Tensor& x) {
    const auto value = x * scale;
    scale.add_(1);
    return value;
  });
  CallRecord record(place, branch, x, {});
  call(record);
  scale.fill_(5);
  {
    Replay replay(record);
    EXPECT_TRUE(BitEqual(replay(x, {}, {}), x * 2));
    EXPECT_EQ(scale.item<float>(), 5);
  }
  EXPECT_EQ(scale.item<float>(), 5);
}

TEST_F(ReplayTest, SetsBuffersThatAreWrittenThroughAPointerWhileItLives) {
  const auto scale = torch::full({1}, 2.f);
  const auto branch = over_buffer(scale, [scale](const Tensor& x) {
    const auto value = x * *scale.data_ptr<float>();
    *scale.data_ptr<float>() += 1;
    return value;
  });
  CallRecord record(place, branch, x, {});
  record.run(x, {}, {});
  detail::BranchFacts::Seen seen;
  record.settle(seen);
  EXPECT_TRUE(seen.writes_buffers_directly);
  record.learn(seen);
  scale.fill_(5);
  {
    Replay replay(record);
    EXPECT_TRUE(BitEqual(replay(x, {}, {}), x * 2));
    EXPECT_EQ(scale.item<float>(), 3);
  }
  EXPECT_EQ(scale.item<float>(), 5);
}

TEST_F(ReplayTest, RefusesABufferThatForwardLeftAloneAndThatHasChangedSince) {
  const auto scale = torch::full({1}, 2.f);
  const auto branch =
      over_buffer(scale, [scale](const Tensor& x) { return x * scale; });
  CallRecord record(place, branch, x, {});
  call(record);
  EXPECT_TRUE(BitEqual(replay(record), x * 2));
  scale.fill_(5);
  EXPECT_THROW_WITH(
      replay(record),
      c10::ValueError,
      "buffers of F of block 3 to be as in forward",
      "shape [1]",
      "mutable_buffers()");
  EXPECT_EQ(scale.item<float>(), 5);
}

TEST_F(ReplayTest, GivesAResizedBufferTheSizeOfTheCall) {
  const auto lowest = torch::zeros({0});
  const auto branch = over_buffer(lowest, [lowest](const Tensor& x) {
    const auto value = x + lowest.numel();
    lowest.resize_({kWidth}).fill_(7);
    return value;
  });
  CallRecord record(place, branch, x, {});
  const auto value = call(record);
  EXPECT_TRUE(BitEqual(replay(record), value));
  EXPECT_TRUE(BitEqual(lowest, torch::full({kWidth}, 7.f)));
}

TEST_F(ReplayTest, LeavesParametersThatTheCallWroteToAsItFindsThem) {
  const auto weight = torch::ones({kWidth}).requires_grad_();
  const Branch branch = Branch::function(
      [weight](const Tensor& x, auto, auto) {
        const at::NoGradGuard no_grad;
        weight.add_(1);
        return x * weight;
      },
      {weight});
  CallRecord record(place, branch, x, {});
  call(record);
  record.wrote({{weight, 1}});
  const auto version = weight._version();
  replay(record);
  EXPECT_TRUE(BitEqual(weight, torch::full({kWidth}, 2.f)));
#if TORCHREV_TORCH_AT_LEAST(2, 0)
  EXPECT_EQ(weight._version(), version);
#else
  (void)version;
#endif
}

TEST_F(ReplayTest, WritesToNoBufferOnceMore) {
  torch::nn::BatchNorm1d norm(kWidth);
  CallRecord record(place, norm, x, {});
  const auto value = call(record);
  const auto mean = norm->running_mean.clone();
  EXPECT_TRUE(BitEqual(replay(record), value));
  EXPECT_TRUE(BitEqual(norm->running_mean, mean));
  EXPECT_EQ(norm->num_batches_tracked.item<int64_t>(), 1);
}

TEST_F(ReplayTest, SeesLargeBuffersAsTheyAre) {
  const auto large = torch::full({kLarge}, 2.0, at::kDouble);
  const auto branch =
      over_buffer(large, [large](const Tensor& x) { return x * large[0]; });
  CallRecord record(place, branch, x, {});
  call(record);
  large.fill_(5);
  EXPECT_TRUE(BitEqual(replay(record), x * 5));
}

TEST_F(ReplayTest, SeesLargeBuffersThatAreDeclaredMutableAsInTheCall) {
  const auto large = torch::full({kLarge}, 2.0, at::kDouble);
  const auto branch = over_buffer(large, [large](const Tensor& x) {
    const auto value = x * large[0];
    large.add_(1);
    return value;
  });
  RecordOptions all_mutable;
  all_mutable.buffers.all_mutable = true;
  for (const bool by_branch : {false, true}) {
    large.fill_(2);
    CallRecord record(
        place,
        by_branch ? branch.mutable_buffers() : branch,
        x,
        by_branch ? RecordOptions() : all_mutable);
    call(record);
    EXPECT_TRUE(BitEqual(replay(record), x * 2));
    EXPECT_EQ(large[0].item<double>(), 3);
  }
}

// The first call is compared always, later ones if asked to.
TEST_F(CallRecordTest, LargeBufferThatForwardChangesIsRefused) {
  const auto large = torch::zeros({kLarge}, at::kDouble);
  bool writes = true;
  const auto branch = over_buffer(large, [large, &writes](const Tensor& x) {
    large[7] += writes ? 1 : 0;
    return x;
  });
  const auto refuses = [&](const RecordOptions& options) {
    CallRecord record(place, branch, x, options);
    EXPECT_THROW_WITH(
        call(record),
        c10::ValueError,
        "torchrev::entry",
        "more than 1 MiB of F of block 3",
        "shape [131073]",
        "mutable_buffers()");
  };
  RecordOptions options;
  refuses(options);
  writes = false;
  CallRecord first(place, branch, x, options);
  first.run(x, {}, {});
  detail::BranchFacts::Seen seen;
  first.settle(seen);
  first.learn(seen);
  writes = true;
  CallRecord trusting(place, branch, x, options);
  EXPECT_NO_THROW(call(trusting));
  options.buffers.verify_constant = true;
  refuses(options);
}

TEST_F(ReplayTest, RemembersTheDecisionsOfTheCall) {
  const Branch gate = Branch::function([](const Tensor& x, auto, auto) {
    return x * remember("positive", x > 0);
  });
  CallRecord record(place, gate, x, {});
  const auto value = call(record);
  EXPECT_TRUE(BitEqual(Replay(record)(-x, {}, {}), -value));
}

TEST_F(ReplayTest, ThatRemembersLessThanTheCallThrows) {
  bool remembers = true;
  const Branch branch =
      Branch::function([&remembers](const Tensor& x, auto, auto) {
        return remembers ? x * remember("positive", x > 0) : x * 1;
      });
  CallRecord record(place, branch, x, {});
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
  CallRecord record(place, branch, x, {});
  call(record);
  fail = true;
  const auto state = generator_state();
  const auto mean = norm->running_mean.clone();
  EXPECT_THROW(replay(record), c10::Error);
  EXPECT_TRUE(BitEqual(generator_state(), state));
  EXPECT_TRUE(BitEqual(norm->running_mean, mean));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
