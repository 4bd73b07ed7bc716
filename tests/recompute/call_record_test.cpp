#include "recompute/call_record.h"

#include <torchrev/remember.h>

#include "compat.h"
#include "recompute/call_record_fixture.h"
#include "support/autocast.h"

// What a call saw is recorded; a replay runs the branch again with all of it,
// and leaves everything as it found it.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::CallRecord;
using detail::RecordOptions;
using detail::Replay;

Tensor generator_state() {
  return at::detail::getDefaultCPUGenerator().get_state();
}

class ReplayTest : public CallRecordFixture {};

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
