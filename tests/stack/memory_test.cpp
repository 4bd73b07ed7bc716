#include "support/support.h"

#include <memory>
#include <stdexcept>

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 16;

nn::ReversibleSequential stack_of(
    int64_t depth, const ReversibleOptions& options = {}) {
  nn::ReversibleSequential stack(options);
  for (int64_t i = 0; i < depth; ++i) {
    stack->push_back(mlp(kWidth), mlp(kWidth));
  }
  return stack;
}

Tensor random_input() {
  return torch::randn({64, 2 * kWidth}, at::kDouble).requires_grad_();
}

// Of the drift guard, in float64: four fingerprints of two streams, their
// positions, and whether the end is finite.
constexpr int64_t kFingerprints = (4 * 2 + 1) * 128 * 8 + 1;

int64_t bytes_of(const Tensor& tensor) {
  return static_cast<int64_t>(tensor.nbytes());
}

// Peak bytes of a step above what lives before it: forward and backward with
// the gradients allocated beforehand, after one step of warm-up.
template <typename Forward>
int64_t peak_of_step(const Forward& forward, std::vector<Tensor> leaves) {
  for (Tensor& leaf : leaves) {
    leaf.mutable_grad() = torch::zeros_like(leaf);
  }
  forward().sum().backward();
  const MemoryMeter meter;
  const int64_t before = meter.live();
  forward().sum().backward();
  return meter.peak() - before;
}

int64_t reversible_peak(int64_t depth, const ReversibleOptions& options = {}) {
  auto stack = stack_of(depth, options);
  const Tensor x = random_input();
  auto leaves = stack->parameters();
  leaves.push_back(x);
  return peak_of_step([&] { return stack->forward(x); }, leaves);
}

int64_t plain_peak(int64_t depth) {
  const auto blocks = mlp_blocks(depth, kWidth);
  const Tensor x = random_input();
  auto leaves = parameters_of(blocks);
  leaves.push_back(x);
  const auto forward = [&] {
    const auto halves = x.chunk(2, -1);
    const auto [y1, y2] = plain(blocks)({halves[0], halves[1], {}});
    return torch::cat({y1, y2}, -1);
  };
  return peak_of_step(forward, leaves);
}

TEST(MemoryMeterTest, CountsRequestedBytes) {
  const MemoryMeter meter;
  const int64_t before = meter.live();
  {
    const Tensor tensor = torch::empty({1001}, at::kByte);
    EXPECT_EQ(meter.live(), before + 1001);
  }
  EXPECT_EQ(meter.live(), before);
  EXPECT_EQ(meter.peak(), before + 1001);
}

TEST(MemoryMeterTest, SeesPlainAutogradGrowWithDepth) {
  EXPECT_GT(plain_peak(16), 3 * plain_peak(4));
}

TEST(PeakMemoryTest, IsTheSameAtEveryDepth) {
  const int64_t peak = reversible_peak(4);
  EXPECT_EQ(reversible_peak(16), peak);
  EXPECT_EQ(reversible_peak(64), peak);
  EXPECT_LT(peak, plain_peak(4));
}

TEST(PeakMemoryTest, OfDuplicatedStreamsIsTheSameAtEveryDepth) {
  const auto peak = [](int64_t depth) {
    nn::ReversibleSequential stack(ReversibleOptions().duplicate());
    for (int64_t i = 0; i < depth; ++i) {
      stack->push_back(mlp(2 * kWidth), mlp(2 * kWidth));
    }
    const Tensor x = random_input();
    auto leaves = stack->parameters();
    leaves.push_back(x);
    return peak_of_step([&] { return stack->forward(x); }, leaves);
  };
  EXPECT_EQ(peak(16), peak(4));
}

class MemoryTest : public testing::Test {
 protected:
  MemoryTest() {
    leaves.push_back(x);
    for (Tensor& leaf : leaves) {
      leaf.mutable_grad() = torch::zeros_like(leaf);
    }
    stack->forward(x).sum().backward();
    before = MemoryMeter::live();
  }

  nn::ReversibleSequential stack = stack_of(4);
  Tensor x = random_input();
  std::vector<Tensor> leaves = stack->parameters();
  int64_t before = 0;
};

TEST_F(MemoryTest, ForwardRetainsNothingButItsOutputAndFingerprints) {
  const Tensor y = stack->forward(x);
  EXPECT_EQ(MemoryMeter::live(), before + bytes_of(y) + kFingerprints);
}

TEST_F(MemoryTest, ForwardWithoutDriftGuardRetainsNothingButItsOutput) {
  stack->options.reversible().drift_tolerance(torch::nullopt);
  const Tensor y = stack->forward(x);
  EXPECT_EQ(MemoryMeter::live(), before + bytes_of(y));
}

TEST_F(MemoryTest, ForwardOfDuplicatesRetainsOnePairBesidesItsOutput) {
  nn::ReversibleSequential duplicates(ReversibleOptions().duplicate());
  duplicates->push_back(mlp(2 * kWidth), mlp(2 * kWidth));
  before = MemoryMeter::live();
  const Tensor y = duplicates->forward(x);
  EXPECT_EQ(MemoryMeter::live(), before + 3 * bytes_of(y) + kFingerprints);
}

TEST_F(MemoryTest, ForwardOfStreamsRetainsNothingButItsOutputs) {
  const auto halves = x.detach().chunk(2, -1);
  const auto [y1, y2] = stack->forward_streams(halves[0], halves[1]);
  EXPECT_EQ(
      MemoryMeter::live(),
      before + bytes_of(y1) + bytes_of(y2) + kFingerprints);
}

TEST_F(MemoryTest, ForwardWithoutGraphRetainsNothingButItsOutput) {
  torch::NoGradGuard no_grad;
  const Tensor y = stack->forward(x);
  EXPECT_EQ(MemoryMeter::live(), before + bytes_of(y));
}

TEST_F(MemoryTest, NothingStaysAfterBackward) {
  stack->forward(x).sum().backward();
  EXPECT_EQ(MemoryMeter::live(), before);
}

TEST_F(MemoryTest, NothingStaysAfterBackwardWhileTheLossIsHeld) {
  const Tensor loss = stack->forward(x).sum();
  loss.backward();
  EXPECT_EQ(MemoryMeter::live(), before + bytes_of(loss));
}

TEST_F(MemoryTest, NothingStaysAfterGradWhileTheLossIsHeld) {
  const Tensor loss = stack->forward(x).sum();
  torch::autograd::grad({loss}, {x});
  EXPECT_EQ(MemoryMeter::live(), before + bytes_of(loss));
}

TEST_F(MemoryTest, NothingStaysWhenBackwardNeverRuns) {
  stack->forward(x);
  EXPECT_EQ(MemoryMeter::live(), before);
}

TEST_F(MemoryTest, NothingStaysAfterInverse) {
  stack->inverse(x);
  EXPECT_EQ(MemoryMeter::live(), before);
}

// A branch that throws at the call with the number that is armed.
Branch failing(const std::shared_ptr<int>& calls_left) {
  return Branch::function(
      [calls_left](const Tensor& x, at::TensorList, at::TensorList) {
        if (--*calls_left == 0) {
          throw std::domain_error("no answer");
        }
        return x.sin();
      });
}

TEST_F(MemoryTest, NothingStaysWhenForwardThrows) {
  const auto calls_left = std::make_shared<int>(1);
  stack->push_back(mlp(kWidth), failing(calls_left));
  before = MemoryMeter::live();
  EXPECT_THROW(stack->forward(x), std::domain_error);
  EXPECT_EQ(MemoryMeter::live(), before);
}

TEST_F(MemoryTest, NothingStaysWhenBackwardThrows) {
  nn::ReversibleSequential stack;
  const auto calls_left = std::make_shared<int>(2);
  stack->push_back(mlp(kWidth), mlp(kWidth));
  stack->push_back(mlp(kWidth), failing(calls_left));
  stack->push_back(failing(calls_left), torch::nn::Identity());
  *calls_left = 100;
  stack->forward(x);  // A first call is run twice.
  *calls_left = 4;
  before = MemoryMeter::live();
  EXPECT_THROW(stack->forward(x).sum().backward(), std::domain_error);
  EXPECT_EQ(MemoryMeter::live(), before);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
