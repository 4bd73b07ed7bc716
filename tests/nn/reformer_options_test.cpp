#include <sstream>
#include <string>

#include "nn/reformer_support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using nn::FullAttention;
using nn::LSHAttention;
using nn::Reformer;
using nn::ReformerOptions;

// --- Words ------------------------------------------------------------------

TEST(ReformerPrintTest, PrettyPrintsOptions) {
  std::ostringstream stream;
  stream << Reformer(small("lsh", 3)) << FullAttention(small("full"))
         << LSHAttention(small("lsh").causal(true));
  const auto text = stream.str();
  for (const auto* line :
       {"torchrev::nn::Reformer(d_model=8, nhead=2, num_layers=3)",
        "torchrev::nn::FullAttention(d_model=8, nhead=2, causal=false)",
        "torchrev::nn::LSHAttention(d_model=8, nhead=2, causal=true, "
        "chunk_length=4, num_hashes=2)",
        "torch::nn::GELU"}) {
    EXPECT_NE(text.find(line), std::string::npos) << text;
  }
}

TEST(ReformerPrintTest, ActivationIsAnOption) {
  const auto text_of = [](const torch::nn::activation_t& activation) {
    std::ostringstream stream;
    stream << Reformer(small("full").activation(activation));
    return stream.str();
  };
  EXPECT_NE(text_of(torch::kReLU).find("ReLU"), std::string::npos);
  const std::function<Tensor(const Tensor&)> tanh = [](const Tensor& x) {
    return x.tanh();
  };
  EXPECT_NE(text_of(tanh).find("Functional"), std::string::npos);
}

// --- Errors -----------------------------------------------------------------

TEST(ReformerErrorTest, ThrowsForHeadsThatDoNotDivideTheWidth) {
  EXPECT_THROW_WITH(
      Reformer(ReformerOptions(10, 4, 1)),
      c10::ValueError,
      "`d_model` to be a multiple of `nhead`",
      "10 and 4");
}

TEST(ReformerErrorTest, ThrowsForUnknownAttention) {
  EXPECT_THROW_WITH(
      Reformer(small("local")), c10::ValueError, "\"lsh\"", "\"local\"");
}

TEST(ReformerErrorTest, ThrowsForNumbersBelowOne) {
  EXPECT_THROW_WITH(
      Reformer(ReformerOptions(8, 0, 1)), c10::ValueError, "`nhead`", "0");
  EXPECT_THROW_WITH(
      Reformer(ReformerOptions(8, 2, 0)), c10::ValueError, "`num_layers`");
  EXPECT_THROW_WITH(
      Reformer(small("lsh").chunk_length(0)),
      c10::ValueError,
      "`chunk_length`");
  EXPECT_THROW_WITH(
      Reformer(small("lsh").num_hashes(-1)),
      c10::ValueError,
      "`num_hashes`",
      "-1");
  EXPECT_THROW_WITH(
      LSHAttention(ReformerOptions(-8, 2, 1)), c10::ValueError, "`d_model`");
}

TEST(ReformerErrorTest, ThrowsForDropoutThatIsNoProbability) {
  EXPECT_THROW_WITH(
      Reformer(small("full").dropout(1.5)),
      c10::ValueError,
      "`dropout`",
      "1.5");
}

TEST(ReformerErrorTest, ThrowsForAttentionInChunks) {
  EXPECT_THROW_WITH(
      Reformer(small("full").reversible(
          ReversibleOptions().duplicate().chunks_f(2))),
      c10::ValueError,
      "chunks_f",
      "chunks_g");
}

TEST(ReformerErrorTest, ThrowsForStreamsThatWouldHalveTheWidth) {
  EXPECT_THROW_WITH(
      Reformer(small("full").reversible(ReversibleOptions().chunks_g(2))),
      c10::ValueError,
      "duplicate()");
}

TEST(ReformerErrorTest, ThrowsForInputsOfOtherShapesAndDtypes) {
  Reformer model(small("full"));
  const auto x = torch::randn({3, 10, kWidth});
  EXPECT_THROW_WITH(
      model->forward(x.slice(2, 0, 5)),
      c10::ValueError,
      "[N, T, 8]",
      "[3, 10, 5]");
  EXPECT_THROW_WITH(
      model->forward(x, torch::zeros({3, 9}, at::kBool)),
      c10::ValueError,
      "`padding`",
      "[3, 9]");
  EXPECT_THROW_WITH(
      model->forward(x, torch::zeros({3, 10})),
      c10::TypeError,
      "`padding`",
      "Float");
  EXPECT_THROW_WITH(
      model->forward(x.to(at::kLong)), c10::TypeError, "`x`", "Long");
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
