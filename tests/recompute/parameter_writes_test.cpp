#include <torchrev/torchrev.h>

#include "support/support.h"

// Branches that write to their own parameters, in a stack within a branch: the
// recompute of the outer one is what the inner one takes for a forward.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

// Sets its weight, once, to what suits its input.
struct InitialisesImpl : torch::nn::Module {
  InitialisesImpl()
      : weight(register_parameter(
            "weight", torch::linspace(1, 2, kWidth, at::kDouble))),
        ready(register_buffer("ready", torch::zeros({}, at::kDouble))) {}
  Tensor forward(const Tensor& x) {
    if (ready.item<double>() == 0) {
      const at::NoGradGuard no_grad;
      weight.copy_(1 / (1 + x.std(0)));
      ready.fill_(1);
    }
    return (x * weight).tanh();
  }
  Tensor weight, ready;
};
TORCH_MODULE(Initialises);

// A block of two of them, reversible or plain.
struct OuterImpl : torch::nn::Module {
  explicit OuterImpl(bool is_reversible)
      : block{Initialises(), Initialises()}, is_reversible(is_reversible) {
    register_module("f", block.f.module());
    register_module("g", block.g.module());
  }
  Tensor forward(const Tensor& x) {
    const Blocks blocks{block};
    const Inputs inputs{x, x.sin()};
    const auto [y1, y2] =
        is_reversible ? reversible(blocks)(inputs) : plain(blocks)(inputs);
    return y1 * y2;
  }
  BranchPair block;
  bool is_reversible;
};
TORCH_MODULE(Outer);

class ParameterWritesTest : public testing::Test {
 protected:
  // Forward, then `between`, then gradients, and with `order` 2 those of
  // theirs.
  std::vector<Tensor> gradients(
      bool is_reversible,
      int order,
      const std::function<void(torch::nn::Module&)>& between) {
    Outer f(is_reversible), g(is_reversible);
    const Blocks blocks{{f, g}};
    auto wanted = parameters_of(blocks);
    wanted.insert(wanted.end(), {inputs.x1, inputs.x2});
    const auto [y1, y2] =
        is_reversible ? reversible(blocks)(inputs) : plain(blocks)(inputs);
    between(*f);
    const auto first = torch::autograd::grad(
        {weighted_sum({y1, y2})}, wanted, {}, order > 1, order > 1);
    return order > 1 ? torch::autograd::grad({weighted_sum(first)}, wanted)
                     : first;
  }
  void expect_matches_plain(
      int order,
      const std::function<void(torch::nn::Module&)>& between =
          [](torch::nn::Module&) {}) {
    EXPECT_TRUE(AllClose(
        gradients(true, order, between),
        gradients(false, order, between),
        kFloat64Tolerance));
  }

  Inputs inputs = random_inputs({6, kWidth});
};

TEST_F(ParameterWritesTest, OfAStackWithinABranchMatchPlain) {
  expect_matches_plain(1);
}

// What the inner stack saves in the recompute outlives it.
TEST_F(ParameterWritesTest, OfAStackWithinABranchHaveSecondDerivatives) {
  expect_matches_plain(2);
}

// The recompute then sets the flags where everybody sees them.
TEST_F(ParameterWritesTest, MayBeFollowedByAChangeOfModes) {
  expect_matches_plain(1, [](torch::nn::Module& f) { f.eval(); });
  expect_matches_plain(2, [](torch::nn::Module& f) { f.eval(); });
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
