#include <torchrev/nn/reformer.h>

#include <cmath>
#include <string>
#include <vector>

#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using nn::FullAttention;
using nn::LSHAttention;
using nn::ReformerOptions;

constexpr int64_t kWidth = 8;
constexpr int64_t kHeads = 2;

ReformerOptions small() {
  return ReformerOptions(kWidth, kHeads, 1).chunk_length(4).dropout(0.0);
}

TEST(FullAttentionTest, EqualsTheFormula) {
  for (const bool causal : {false, true}) {
    FullAttention attention(small().causal(causal));
    attention->to(at::kDouble);
    const auto x = torch::randn({3, 10, kWidth}, at::kDouble);
    const auto parts =
        attention->queries_keys_values(attention->norm(x)).chunk(3, -1);
    std::vector<Tensor> heads;
    for (int64_t h = 0; h < kHeads; ++h) {
      const auto of_head = [&](const Tensor& part) {
        return part.chunk(kHeads, -1)[h];
      };
      auto scores =
          of_head(parts[0]).matmul(of_head(parts[1]).transpose(1, 2)) /
          std::sqrt(double(kWidth) / kHeads);
      if (causal) {
        scores = scores.masked_fill(
            torch::ones({10, 10}, at::kBool).triu(1), -INFINITY);
      }
      heads.push_back(scores.softmax(-1).matmul(of_head(parts[2])));
    }
    EXPECT_TRUE(AllClose(
        attention(x),
        attention->projection(torch::cat(heads, -1)),
        kFloat64Tolerance));
  }
}

TEST(LSHAttentionModuleTest, DrawsNewRotationsAtEachCall) {
  LSHAttention attention(small());
  attention->eval();
  const auto x = torch::randn({1, 64, kWidth});
  torch::manual_seed(1);
  const auto first = attention(x);
  const auto second = attention(x);
  torch::manual_seed(1);
  EXPECT_TRUE(BitEqual(attention(x), first));
  EXPECT_FALSE(BitEqual(second, first));
}

TEST(LSHAttentionModuleTest, AShortSequenceIsAttendedToAsAWhole) {
  LSHAttention attention(small().num_hashes(3));
  const auto x = torch::randn({1, 4, kWidth}).requires_grad_();
  const auto y = attention(x);
  EXPECT_TRUE(BitEqual(attention(x), y));
  for (int64_t i = 0; i < 4; ++i) {
    const auto gradient =
        torch::autograd::grad({y[0][i].sum()}, {x}, {}, true)[0];
    EXPECT_TRUE(gradient[0].abs().sum(-1).gt(0).all().item<bool>());
  }
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
