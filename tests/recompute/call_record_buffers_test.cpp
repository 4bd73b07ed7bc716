#include "compat.h"
#include "recompute/call_record_fixture.h"

// Buffers and parameters that a call reads and writes, in the call and in its
// replay.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::CallRecord;
using detail::RecordOptions;
using detail::Replay;

class CallRecordTest : public CallRecordFixture {};
class ReplayBufferTest : public CallRecordFixture {};

TEST_F(ReplayBufferTest, SeesChangedBuffersAsInTheCallAndOthersSeeNothingOfIt) {
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

TEST_F(ReplayBufferTest, SetsBuffersThatAreWrittenThroughAPointerWhileItLives) {
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

TEST_F(
    ReplayBufferTest,
    RefusesABufferThatForwardLeftAloneAndThatHasChangedSince) {
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

TEST_F(ReplayBufferTest, GivesAResizedBufferTheSizeOfTheCall) {
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

TEST_F(ReplayBufferTest, ShowsTheSizeThatTheReplayGivesABufferListedTwice) {
  const auto lowest = torch::zeros({0});
  const auto branch = Branch::function(
      [lowest](const Tensor& x, auto, auto) {
        if (lowest.numel() == 0) {
          lowest.resize_({kWidth}).fill_(7);
        }
        return x + lowest.numel();
      },
      {},
      {lowest, lowest});
  CallRecord record(place, branch, x, {});
  const auto value = call(record);
  EXPECT_TRUE(BitEqual(replay(record), value));
  EXPECT_TRUE(BitEqual(lowest, torch::full({kWidth}, 7.f)));
}

TEST_F(ReplayBufferTest, LeavesParametersThatTheCallWroteToAsItFindsThem) {
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

TEST_F(ReplayBufferTest, WritesToNoBufferOnceMore) {
  torch::nn::BatchNorm1d norm(kWidth);
  CallRecord record(place, norm, x, {});
  const auto value = call(record);
  const auto mean = norm->running_mean.clone();
  EXPECT_TRUE(BitEqual(replay(record), value));
  EXPECT_TRUE(BitEqual(norm->running_mean, mean));
  EXPECT_EQ(norm->num_batches_tracked.item<int64_t>(), 1);
}

TEST_F(ReplayBufferTest, SeesLargeBuffersAsTheyAre) {
  const auto large = torch::full({kLarge}, 2.0, at::kDouble);
  const auto branch =
      over_buffer(large, [large](const Tensor& x) { return x * large[0]; });
  CallRecord record(place, branch, x, {});
  call(record);
  large.fill_(5);
  EXPECT_TRUE(BitEqual(replay(record), x * 5));
}

TEST_F(ReplayBufferTest, SeesLargeBuffersThatAreDeclaredMutableAsInTheCall) {
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

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
