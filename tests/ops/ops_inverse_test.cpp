#include "ops/ops_resolver.h"
#include "support/oracle.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

class OpsInverseTest : public testing::Test {
 protected:
  // What the operator itself gives, called from TorchScript as `call`.
  c10::IValue called(const std::string& call, const Tensor& x) const {
    torch::jit::Module module("Stack");
    module.register_module("blocks", list);
    module.define(
        "def forward(self, x):\n    return torchrev." + call + "\n",
        std::make_shared<OpsResolver>());
    return module.forward({x});
  }

  torch::jit::Module f = scripted(kWidth);
  torch::jit::Module g = scripted(kWidth);
  torch::jit::Module list = module_list({{f, g}, {g, f}});
  Blocks blocks = {{f, g}, {g, f}};
  Inputs inputs = random_inputs({3, kWidth});
  Tensor x = torch::randn({3, 2 * kWidth}, at::kDouble);
};

TEST_F(OpsInverseTest, InversesRecoverTheInput) {
  auto [y1, y2] = ops::reversible_sequence(list, inputs.x1, inputs.x2);
  auto [x1, x2] = ops::reversible_sequence_inverse(list, y1, y2);
  EXPECT_TRUE(AllClose({x1, x2}, {inputs.x1, inputs.x2}, kFloat64Tolerance));
  std::tie(y1, y2) = ops::reversible_block(f, g, inputs.x1, inputs.x2);
  std::tie(x1, x2) = ops::reversible_block_inverse(f, g, y1, y2);
  EXPECT_TRUE(AllClose({x1, x2}, {inputs.x1, inputs.x2}, kFloat64Tolerance));
}

TEST_F(OpsInverseTest, InverseOperatorIsThatOfTheFunction) {
  const auto y = called(
                     "reversible_sequence_inverse(self.blocks, x, x, [x])",
                     inputs.x1.detach())
                     .toTuple();
  const auto [x1, x2] = reversible_sequence_inverse(
      blocks, inputs.x1.detach(), inputs.x1.detach());
  EXPECT_TRUE(BitEqual(y->elements()[0].toTensor(), x1));
  EXPECT_TRUE(BitEqual(y->elements()[1].toTensor(), x2));
}

TEST_F(OpsInverseTest, ResidualInverseSplitsAlongItsDimension) {
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(BitEqual(
      called("reversible_residual_inverse(self.blocks, x)", x).toTensor(),
      reversible_residual_inverse(blocks, x)));
  const auto call = [this](const std::string& arguments) {
    return called(
               "reversible_residual_inverse(self.blocks, torchrev."
               "reversible_residual(self.blocks, " +
                   arguments + "), " + arguments.substr(3) + ")",
               torch::ones({6, kWidth}, at::kDouble))
        .toTensor();
  };
  EXPECT_TRUE(
      AllClose(call("x, dim=0"), torch::ones({6, kWidth}, at::kDouble), 1e-12));
  EXPECT_TRUE(AllClose(
      ops::reversible_residual_inverse(list, ops::reversible_residual(list, x)),
      x,
      kFloat64Tolerance));
}

TEST_F(OpsInverseTest, GradientsOfInverseOperatorsEqualPlainAutograd) {
  const auto parameters = parameters_of(blocks);
  const auto expected = train(plain_inverse(blocks), inputs, parameters);
  const Stack residual = [this](const Inputs& y) {
    const auto halves = called(
                            "reversible_residual_inverse(self.blocks, x)",
                            torch::cat({y.x1, y.x2}, -1))
                            .toTensor()
                            .chunk(2, -1);
    return std::make_tuple(halves[0], halves[1]);
  };
  const Stack sequence = [this](const Inputs& y) {
    return ops::reversible_sequence_inverse(list, y.x1, y.x2);
  };
  for (const auto& inverse : {residual, sequence}) {
    EXPECT_TRUE(Matches(
        train(inverse, inputs, parameters), expected, kFloat64Tolerance));
  }
  const Blocks block = {{f, g}};
  EXPECT_TRUE(Matches(
      train(
          [this](const Inputs& y) {
            return ops::reversible_block_inverse(f, g, y.x1, y.x2);
          },
          inputs,
          parameters_of(block)),
      train(plain_inverse(block), inputs, parameters_of(block)),
      kFloat64Tolerance));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
