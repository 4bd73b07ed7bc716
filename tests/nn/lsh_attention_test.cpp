#include <torchrev/nn/lsh_attention.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using nn::functional::lsh_attention;
using nn::functional::lsh_buckets;

constexpr double kFull = 1e-5;

/// What one call of lsh_attention gets.
struct Problem {
  Tensor qk, v, buckets;
  int64_t chunk_length;
  bool causal;
  Tensor padding;

  Tensor operator()() const {
    return lsh_attention(qk, v, buckets, chunk_length, causal, padding);
  }
};

Problem problem(
    int64_t rounds,
    int64_t length,
    int64_t chunk_length,
    bool causal = false,
    at::ScalarType dtype = at::kDouble) {
  return {
      torch::randn({2, 3, length, 4}, dtype),
      torch::randn({2, 3, length, 5}, dtype),
      torch::randint(0, 6, {2, 3, rounds, length}, at::kShort),
      chunk_length,
      causal,
      {}};
}

bool is_padding(const Problem& p, int64_t n, int64_t i) {
  return p.padding.defined() && p.padding[n][i].item<bool>();
}

/// The places of positions in a round: sorted by bucket, padding last.
std::vector<int64_t> places_of(
    const Problem& p, int64_t n, int64_t h, int64_t round) {
  const auto length = p.qk.size(2);
  std::vector<int64_t> order(length), places(length);
  std::iota(order.begin(), order.end(), 0);
  const auto bucket = [&](int64_t i) {
    return is_padding(p, n, i) ? 1000
                               : p.buckets[n][h][round][i].item<int64_t>();
  };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return bucket(a) < bucket(b);
  });
  for (int64_t place = 0; place < length; ++place) {
    places[order[place]] = place;
  }
  return places;
}

/// S_i of the definition.
std::set<int64_t> attended(const Problem& p, int64_t n, int64_t h, int64_t i) {
  std::set<int64_t> positions;
  for (int64_t round = 0; round < p.buckets.size(2); ++round) {
    const auto places = places_of(p, n, h, round);
    for (int64_t j = 0; j < p.qk.size(2); ++j) {
      const auto back = places[i] / p.chunk_length - places[j] / p.chunk_length;
      const bool taken_out =
          j == i || (p.causal && j > i) || is_padding(p, n, j);
      if ((back == 0 || back == 1) && !taken_out) {
        positions.insert(j);
      }
    }
  }
  return positions.empty() ? std::set<int64_t>{i} : positions;
}

/// The definition, position by position.
Tensor reference(const Problem& p) {
  auto y = torch::zeros_like(p.v);
  for (int64_t n = 0; n < p.qk.size(0); ++n) {
    for (int64_t h = 0; h < p.qk.size(1); ++h) {
      for (int64_t i = 0; i < p.qk.size(2); ++i) {
        const auto q = p.qk[n][h];
        double sum = 0;
        auto row = torch::zeros_like(p.v[n][h][i]);
        for (const auto j : attended(p, n, h, i)) {
          const auto k = q[j] / q[j].norm();
          const auto weight = std::exp(q[i].dot(k).item<double>());
          sum += weight;
          row += weight * p.v[n][h][j];
        }
        y[n][h][i] = row / sum;
      }
    }
  }
  return y;
}

/// Attention of each position to all others, with shared queries and keys.
Tensor full(const Problem& p) {
  const auto length = p.qk.size(2);
  const auto k = p.qk / p.qk.norm(2, -1, true);
  auto scores = p.qk.matmul(k.transpose(-2, -1));
  if (p.causal) {
    scores = scores.masked_fill(
        torch::ones({length, length}, at::kBool).triu(1), -INFINITY);
  }
  const auto self = torch::eye(length, at::kBool);
  return scores.masked_fill(self, -1e5).softmax(-1).matmul(p.v);
}

class LSHAttentionTest : public testing::Test {
 protected:
  void SetUp() override {
    torch::manual_seed(3);
  }
};

struct Case {
  int64_t rounds, length, chunk_length;
  bool causal;
};

class LSHAttentionDefinitionTest : public testing::TestWithParam<Case> {};

TEST_P(LSHAttentionDefinitionTest, EqualsADoubleLoopOverPositions) {
  torch::manual_seed(4);
  const auto [rounds, length, chunk_length, causal] = GetParam();
  auto p = problem(rounds, length, chunk_length, causal);
  EXPECT_TRUE(AllClose(p(), reference(p), kFloat64Tolerance));
  p.padding = torch::rand({2, length}) < 0.3;
  EXPECT_TRUE(AllClose(p(), reference(p), kFloat64Tolerance));
}

// Lengths that chunks divide and that they do not, one chunk, one position.
INSTANTIATE_TEST_SUITE_P(
    Cases,
    LSHAttentionDefinitionTest,
    testing::Values(
        Case{1, 12, 4, false},
        Case{1, 12, 4, true},
        Case{2, 13, 4, false},
        Case{3, 14, 4, true},
        Case{4, 15, 5, true},
        Case{2, 8, 4, true},
        Case{2, 3, 4, false},
        Case{2, 1, 4, true},
        Case{3, 7, 1, false}));

TEST_F(LSHAttentionTest, EqualsFullAttentionInOneBucket) {
  for (const bool causal : {false, true}) {
    auto p = problem(3, 16, 16, causal, at::kFloat);
    p.buckets.zero_();
    EXPECT_TRUE(AllClose(p(), full(p), kFull));
  }
}

// Two chunks: the second looks back on the first, which is all that a decoder
// may see.
TEST_F(LSHAttentionTest, EqualsFullAttentionOfADecoderInOneBucketOfTwoChunks) {
  auto p = problem(2, 16, 8, /*causal=*/true, at::kFloat);
  p.buckets.zero_();
  EXPECT_TRUE(AllClose(p(), full(p), kFull));
}

TEST_F(LSHAttentionTest, GradientMatchesCentralDifferences) {
  for (const bool causal : {false, true}) {
    auto p = problem(2, 7, 3, causal);
    p.padding = torch::zeros({2, 7}, at::kBool);
    p.padding[0][2] = true;
    p.qk.set_requires_grad(true);
    p.v.set_requires_grad(true);
    EXPECT_TRUE(GradientMatchesCentralDifference(
        [&] { return weighted_sum({p()}); }, {p.qk, p.v}));
  }
}

TEST_F(LSHAttentionTest, SecondDerivativeMatchesCentralDifferences) {
  auto p = problem(2, 5, 2);
  p.qk.set_requires_grad(true);
  EXPECT_TRUE(GradientMatchesCentralDifference(
      [&] {
        const torch::AutoGradMode grad_mode(true);
        const auto gradient = torch::autograd::grad(
            {weighted_sum({p()})}, {p.qk}, {}, true, true);
        return weighted_sum({gradient[0]});
      },
      {p.qk}));
}

TEST_F(LSHAttentionTest, ADecoderTakesNothingFromLaterPositions) {
  auto p = problem(3, 13, 4, /*causal=*/true);
  p.v.set_requires_grad(true);
  const auto gradient =
      torch::autograd::grad({p().slice(2, 0, 6).sum()}, {p.v})[0];
  EXPECT_EQ(gradient.slice(2, 6).count_nonzero().item<int64_t>(), 0);
}

TEST_F(LSHAttentionTest, PaddingIsNotAttendedTo) {
  auto p = problem(2, 12, 4);
  p.padding = torch::zeros({2, 12}, at::kBool);
  p.padding.slice(1, 9).fill_(true);
  const auto y = p().slice(2, 0, 9);
  p.qk.slice(2, 9).normal_();
  p.v.slice(2, 9).fill_(1e6);
  p.buckets.slice(3, 9).random_(0, 6);
  EXPECT_TRUE(BitEqual(p().slice(2, 0, 9), y));
}

TEST_F(LSHAttentionTest, APositionAttendsToItselfWhereNothingElseIsLeft) {
  auto p = problem(2, 6, 3, /*causal=*/true);
  EXPECT_TRUE(AllClose(p().select(2, 0), p.v.select(2, 0), kFloat64Tolerance));
  p.padding = torch::ones({2, 6}, at::kBool);
  EXPECT_TRUE(AllClose(p(), p.v, kFloat64Tolerance));
}

TEST_F(LSHAttentionTest, Bfloat16EqualsTheDefinitionUpToItsRounding) {
  constexpr double kBfloat16Tolerance = 0.03;  // some units in the last place
  for (const bool causal : {false, true}) {
    const auto p = problem(3, 13, 4, causal, at::kBFloat16);
    auto wide = p;
    wide.qk = p.qk.to(at::kDouble);
    wide.v = p.v.to(at::kDouble);
    const auto y = p();
    EXPECT_EQ(y.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(
        AllClose(y.to(at::kDouble), reference(wide), kBfloat16Tolerance));
  }
}

TEST_F(LSHAttentionTest, EmptyInputsStayEmpty) {
  auto p = problem(2, 0, 4);
  EXPECT_EQ(p().sizes(), p.v.sizes());
}

TEST_F(LSHAttentionTest, BucketsAreTheLargestOfRotationsAndTheirOpposites) {
  const auto x = torch::randn({2, 3, 9, 4});
  const auto rotations = torch::randn({3, 4, 5});
  const auto buckets = lsh_buckets(x, rotations);
  EXPECT_EQ(buckets.sizes(), (std::vector<int64_t>{2, 3, 3, 9}));
  for (int64_t round = 0; round < 3; ++round) {
    const auto projected = x.matmul(rotations[round]);
    EXPECT_TRUE(BitEqual(
        buckets.select(2, round),
        torch::cat({projected, -projected}, -1).argmax(-1)));
  }
}

// --- Errors -----------------------------------------------------------------

TEST_F(LSHAttentionTest, ThrowsForShapesThatDoNotAgree) {
  auto p = problem(2, 6, 3);
  p.v = p.v.slice(2, 0, 5);
  EXPECT_THROW_WITH(p(), c10::ValueError, "`v`", "[2, 3, 5, 5]");
  p = problem(2, 6, 3);
  p.buckets = p.buckets.slice(3, 0, 5);
  EXPECT_THROW_WITH(p(), c10::ValueError, "`buckets`", "[2, 3, 2, 5]");
  p = problem(2, 6, 3);
  p.padding = torch::zeros({2, 5}, at::kBool);
  EXPECT_THROW_WITH(p(), c10::ValueError, "`padding`", "[2, 5]");
}

TEST_F(LSHAttentionTest, ThrowsForDtypesAndChunkLengthsThatMakeNoSense) {
  auto p = problem(2, 6, 0);
  EXPECT_THROW_WITH(p(), c10::ValueError, "`chunk_length`", "0");
  p = problem(2, 6, 3);
  p.buckets = p.buckets.to(at::kFloat);
  EXPECT_THROW_WITH(p(), c10::TypeError, "`buckets`", "Float");
  p = problem(2, 6, 3);
  p.v = p.v.to(at::kFloat);
  EXPECT_THROW_WITH(p(), c10::TypeError, "`v`", "Double and Float");
  p = problem(2, 6, 3);
  p.padding = torch::zeros({2, 6});
  EXPECT_THROW_WITH(p(), c10::TypeError, "`padding`", "Float");
}

TEST_F(LSHAttentionTest, ThrowsForRotationsOfAnotherWidth) {
  EXPECT_THROW_WITH(
      lsh_buckets(torch::randn({5, 4}), torch::randn({2, 3, 6})),
      c10::ValueError,
      "`rotations`",
      "[2, 3, 6] for [5, 4]");
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
