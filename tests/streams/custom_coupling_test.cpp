#include "support/autocast.h"
#include "support/oracle.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

// What is returned for x and value.
struct Returning : Coupling {
  using Fn = std::function<Tensor(const Tensor&, const Tensor&)>;
  explicit Returning(Fn fn) : fn(std::move(fn)) {}
  Tensor forward(
      const Tensor& x,
      const Tensor& value,
      const Tensor&,
      const StepId&) const override {
    return fn(x, value);
  }
  Tensor inverse(
      const Tensor& y,
      const Tensor& value,
      const Tensor&,
      const StepId&) const override {
    return y - value;
  }
  Fn fn;
};

void run_with(Returning::Fn fn) {
  const auto inputs = random_inputs({3, 4});
  const auto [y1, y2] = reversible(
      mlp_blocks(1, 4),
      ReversibleOptions().coupling(std::make_shared<Returning>(std::move(fn))))(
      inputs);
  (y1.sum() + y2.sum()).backward();
}

TEST(CustomCouplingTest, ThatChangesTheShapeThrows) {
  EXPECT_THROW_WITH(
      run_with([](const Tensor& x, const Tensor& value) {
        return (x + value).sum();
      }),
      c10::ValueError,
      "torchrev::reversible_sequence",
      "the coupling to keep shape [3, 4]",
      "F of block 0");
}

TEST(CustomCouplingTest, ThatHoldsATensorThatRequiresGradThrows) {
  const auto scale = torch::ones({4}, at::kDouble).requires_grad_();
  EXPECT_THROW_WITH(
      run_with([scale](const Tensor& x, const Tensor& value) {
        return x + value * scale;
      }),
      c10::ValueError,
      "to be declared");
}

TEST(CustomCouplingTest, ThatWritesToItsArgumentsThrows) {
  EXPECT_THROW_WITH(
      run_with([](const Tensor& x, const Tensor& value) {
        Tensor written = x;
        return written.add_(value) * 1;
      }),
      c10::ValueError,
      "torchrev::reversible_sequence",
      "not to write to its arguments",
      "F of block 0");
}

TEST(CustomCouplingTest, ThatReturnsItsArgumentIsHandled) {
  struct First : Coupling {
    Tensor forward(const Tensor& x, const Tensor&, const Tensor&, const StepId&)
        const override {
      return x;
    }
    Tensor inverse(const Tensor& y, const Tensor&, const Tensor&, const StepId&)
        const override {
      return y;
    }
  };
  const auto options = ReversibleOptions().coupling(std::make_shared<First>());
  EXPECT_TRUE(MatchesOracle(mlp_blocks(2, 4), random_inputs({3, 4}), options));
}

// It runs again in backward, where there is no autocast.
TEST(CustomCouplingTest, RunsOutsideAutocast) {
  struct Product : Coupling {
    Tensor forward(
        const Tensor& x,
        const Tensor& value,
        const Tensor&,
        const StepId&) const override {
      return x + value.matmul(torch::eye(4));
    }
    Tensor inverse(
        const Tensor& y,
        const Tensor& value,
        const Tensor&,
        const StepId&) const override {
      return y - value.matmul(torch::eye(4));
    }
  };
  torch::manual_seed(0);
  const auto options =
      ReversibleOptions().coupling(std::make_shared<Product>());
  const auto inputs = random_inputs({3, 4}, at::kFloat);
  const auto tanh = Branch::function(
      [](const Tensor& x, at::TensorList, at::TensorList) { return x.tanh(); });
  const Autocast autocast;
  const auto [y1, y2] =
      reversible_block(tanh, tanh, inputs.x1, inputs.x2, {}, options);
  EXPECT_TRUE(AllClose(y1, inputs.x1 + inputs.x2.tanh(), kFloat32Tolerance));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
