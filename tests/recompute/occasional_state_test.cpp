#include <torchrev/torchrev.h>

#include "support/support.h"

// Buffers that forward changes in some calls, and branches that gain one.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 6;

class OccasionalStateTest : public testing::Test {
 protected:
  Inputs inputs = random_inputs({7, kWidth});
};

// Counts in its second call and in those that follow.
struct LateImpl : torch::nn::Cloneable<LateImpl> {
  LateImpl() {
    reset();
  }
  void reset() override {
    count = register_buffer("count", torch::ones({1}, at::kDouble));
  }
  Tensor forward(const Tensor& x) {
    if (called) {
      count.add_(1);
    }
    return x.tanh() / count.clone();
  }
  Tensor count;
  bool called = false;
};
TORCH_MODULE(Late);

TEST_F(OccasionalStateTest, BufferDeclaredMutableMayChangeAtALaterCall) {
  Late f, twin;
  const Blocks blocks = {{Branch(f).mutable_buffers(), linear(kWidth)}};
  const Blocks plain_blocks = {{twin, blocks[0].g}};
  for (int step = 0; step < 3; ++step) {
    // Two forwards, of which each replays its own.
    const auto run = [this](const Stack& stack) {
      const auto first = std::get<0>(stack(inputs));
      const auto second = std::get<0>(stack(inputs));
      return torch::autograd::grad(
          {weighted_sum({first, second})}, {inputs.x1, inputs.x2});
    };
    EXPECT_TRUE(AllClose(
        run(reversible(blocks)), run(plain(plain_blocks)), kFloat64Tolerance));
    f->called = twin->called = true;
  }
}

// Registers a buffer in its first call; the other one changes now and then.
struct GrowingImpl : torch::nn::Cloneable<GrowingImpl> {
  GrowingImpl() {
    reset();
  }
  void reset() override {
    low = register_buffer("low", torch::zeros({kWidth}, at::kDouble));
  }
  Tensor forward(const Tensor& x) {
    if (!mask.defined()) {
      mask = register_buffer("mask", torch::ones({kWidth}, at::kDouble));
    }
    low.copy_(torch::min(low, x.detach().amin(0)));
    return x.tanh() * mask + low.clone();
  }
  Tensor low, mask;
};
TORCH_MODULE(Growing);

TEST_F(OccasionalStateTest, BufferThatABranchGainsMakesItKnownAnew) {
  const Blocks blocks = {{Growing(), linear(kWidth)}};
  const Blocks twin = {{Growing(), blocks[0].g}};
  for (const double scale : {1.0, 0.5, 0.5, 2.0, 1.0}) {
    // Two forwards, of which the second may change what the first one read.
    const auto run = [this, scale](const Stack& stack) {
      const auto y1 = [&](double scale) {
        return std::get<0>(stack({inputs.x1, scale * inputs.x2, {}}));
      };
      const auto first = y1(scale);
      const auto second = y1(1.5 * scale);
      return torch::autograd::grad(
          {weighted_sum({first, second})}, {inputs.x1, inputs.x2});
    };
    EXPECT_TRUE(
        AllClose(run(reversible(blocks)), run(plain(twin)), kFloat64Tolerance));
  }
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
