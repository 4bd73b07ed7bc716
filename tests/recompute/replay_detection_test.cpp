#include <torchrev/torchrev.h>

#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

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
