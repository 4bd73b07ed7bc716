#include <torchrev/torchrev.h>

#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

struct ScaleImpl : torch::nn::Module {
  ScaleImpl()
      : weight(register_parameter(
            "weight", torch::linspace(1, 2, kWidth, at::kDouble))) {}
  Tensor forward(const Tensor& x) {
    return (x * weight).tanh();
  }
  Tensor weight;
};
TORCH_MODULE(Scale);

// A branch that is no function of what it is given is found out.
class ReplayDetectionTest : public testing::Test {
 protected:
  // `later` in the recompute, tanh in forward.
  void expect_throws(
      const std::function<Tensor(const Tensor&)>& later,
      const std::vector<std::string>& parts) {
    int runs = 0;
    const Branch branch = Branch::function(
        [&runs, later](const Tensor& x, at::TensorList, at::TensorList) {
          return runs++ == 0 ? x.tanh() : later(x);
        });
    const auto [y1, y2] = reversible_block(
        branch,
        mlp(kWidth),
        inputs.x1,
        inputs.x2,
        {},
        ReversibleOptions().verify_first_call(false));
    const Tensor loss = weighted_sum({y1, y2});
    EXPECT_TRUE(Throws<c10::ValueError>([&loss] { loss.backward(); }, parts));
  }

  Inputs inputs = random_inputs({3, kWidth});
};

TEST_F(ReplayDetectionTest, RecomputeOfAnotherShapeThrows) {
  expect_throws(
      [](const Tensor& x) { return x.sum(0, /*keepdim=*/true); },
      {"recompute of F of block 0", "[3, 4]", "[1, 4]"});
}

TEST_F(ReplayDetectionTest, RecomputeOfAnotherDtypeThrows) {
  expect_throws(
      [](const Tensor& x) { return x.to(at::kFloat); },
      {"recompute of F of block 0", "Double", "Float"});
}

TEST_F(ReplayDetectionTest, RecomputeThatReturnsNothingThrows) {
  expect_throws(
      [](const Tensor&) { return Tensor(); },
      {"recompute of F of block 0", "undefined"});
}

// Handles of the parameter are taken meanwhile: by the swap, and by grad().
TEST_F(ReplayDetectionTest, SwappedMemberThrows) {
  for (const bool trained : {false, true}) {
    for (const bool part : {false, true}) {
      Scale f, g;
      const auto [y1, y2] = reversible_block(f, g, inputs.x1, inputs.x2);
      const auto loss = part ? y1.sum() : weighted_sum({y1, y2});
      auto other = (1.5 * g->weight).detach().requires_grad_(trained);
      std::swap(g->weight, other);
      EXPECT_TRUE(Throws<c10::ValueError>(
          [&] {
            torch::autograd::grad({loss}, {inputs.x1, f->weight});
          },
          {"G of block 0", trained ? "requires grad" : "a member of"}));
    }
  }
}

// An expert that forward does not choose is no parameter that was lost.
TEST_F(ReplayDetectionTest, ParameterThatForwardDoesNotChooseIsNone) {
  struct ChoosesImpl : torch::nn::Module {
    ChoosesImpl() {
      for (int i = 0; i < 2; ++i) {
        experts.push_back(register_module("e" + std::to_string(i), Scale()));
      }
    }
    Tensor forward(const Tensor& x) {
      return experts[x.sum().item<double>() > 0 ? 1 : 0]->forward(x);
    }
    std::vector<Scale> experts;
  };
  const Branch branch = std::make_shared<ChoosesImpl>();
  for (const double sign : {1.0, -1.0, 1.0}) {
    const Inputs chosen = {
        inputs.x1, (sign * inputs.x2.abs()).detach().requires_grad_(), {}};
    EXPECT_TRUE(MatchesPlain({{branch, mlp(kWidth)}}, chosen));
  }
}

// In its first call there was no graph of the input that could outlive it.
TEST_F(ReplayDetectionTest, WhatAMemberKeepsOfALaterInputThrows) {
  struct KeepsImpl : torch::nn::Module {
    Tensor forward(const Tensor& x) {
      kept = x.square().mean();
      return x.tanh();
    }
    Tensor kept;
  };
  const auto f = std::make_shared<KeepsImpl>();
  for (const bool with_gradient : {false, true}) {
    const auto x2 = inputs.x2.detach().requires_grad_(with_gradient);
    const auto [y1, y2] = reversible_block(f, mlp(kWidth), inputs.x1, x2);
    const auto loss = weighted_sum({y1, y2}) + f->kept;
    const auto differentiate = [&, x2 = x2] {
      torch::autograd::grad({loss}, {with_gradient ? x2 : inputs.x1});
    };
    if (with_gradient) {
      EXPECT_TRUE(Throws<c10::ValueError>(
          differentiate, {"torchrev::Branch", "keeps"}));
    } else {
      EXPECT_NO_THROW(differentiate());
    }
  }
}

TEST_F(ReplayDetectionTest, ContextWhoseRequiresGradWasChangedThrows) {
  const Branch branch = Branch::function([](const Tensor& x,
                                            at::TensorList context,
                                            at::TensorList) {
                          return x * context[0];
                        }).context();
  Tensor scale = torch::ones({kWidth}, at::kDouble);
  const auto [y1, y2] =
      reversible_block(branch, branch, inputs.x1, inputs.x2, {scale});
  scale.requires_grad_();
  EXPECT_TRUE(Throws<c10::ValueError>(
      [&, y1 = y1, y2 = y2] {
        weighted_sum({y1, y2}).backward();
      },
      {"context of G of block 0", "requires_grad"}));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
