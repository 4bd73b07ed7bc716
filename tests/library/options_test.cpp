#include "support/support.h"

#include <string>
#include <type_traits>
#include <utility>

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

TEST(ReversibleOptionsTest, HasTheDocumentedDefaults) {
  const ReversibleOptions options;
  EXPECT_TRUE(options.preserve_rng_state());
  EXPECT_EQ(options.save_every(), 0);
  EXPECT_EQ(options.store_last(), 0);
  EXPECT_EQ(options.chunks_f(), 1);
  EXPECT_EQ(options.chunks_g(), 1);
  EXPECT_EQ(options.chunk_dim(), 1);
  EXPECT_FALSE(options.stream_dtype().has_value());
  EXPECT_FALSE(options.fraction_bits().has_value());
  EXPECT_EQ(options.drift_tolerance(), 0.05);
  EXPECT_EQ(options.coupling(), additive_coupling());
  EXPECT_FALSE(options.verify_constant_buffers());
}

TEST(ReversibleOptionsTest, SplitsTheLastDimensionByDefault) {
  const ReversibleOptions options;
  EXPECT_EQ(options.streams().kind, Streams::Kind::kSplit);
  EXPECT_EQ(options.streams().dim, -1);
}

TEST(ReversibleOptionsTest, SplitTakesADimension) {
  const auto options = ReversibleOptions().split(1);
  EXPECT_EQ(options.streams().kind, Streams::Kind::kSplit);
  EXPECT_EQ(options.streams().dim, 1);
}

TEST(ReversibleOptionsTest, SettersChain) {
  const auto options =
      ReversibleOptions().duplicate().preserve_rng_state(false);
  EXPECT_EQ(options.streams().kind, Streams::Kind::kDuplicate);
  EXPECT_FALSE(options.preserve_rng_state());
}

struct OutOfRange {
  std::string name;
  ReversibleOptions options;
  std::string value;
};

class OutOfRangeOptionTest : public testing::TestWithParam<OutOfRange> {};

TEST_P(OutOfRangeOptionTest, ThrowsAndNamesIt) {
  const auto& [name, options, value] = GetParam();
  EXPECT_THROW_WITH(
      reversible(mlp_blocks(1, 2), options)(random_inputs({2, 2})),
      c10::ValueError,
      "torchrev::reversible_sequence",
      "`" + name + "`",
      value);
}

INSTANTIATE_TEST_SUITE_P(
    EachOption,
    OutOfRangeOptionTest,
    testing::Values(
        OutOfRange{"save_every", ReversibleOptions().save_every(-1), "-1"},
        OutOfRange{"store_last", ReversibleOptions().store_last(-2), "-2"},
        OutOfRange{"chunks_f", ReversibleOptions().chunks_f(0), "0"},
        OutOfRange{"chunks_g", ReversibleOptions().chunks_g(-3), "-3"},
        OutOfRange{
            "drift_tolerance",
            ReversibleOptions().drift_tolerance(-0.5),
            "-0.5"},
        OutOfRange{
            "fraction_bits", ReversibleOptions().fraction_bits(-1), "-1"},
        OutOfRange{"coupling", ReversibleOptions().coupling(nullptr), "null"}),
    [](const auto& info) { return info.param.name; });

TEST_P(OutOfRangeOptionTest, ThrowsFromEveryEntryPoint) {
  const auto& options = GetParam().options;
  const auto blocks = mlp_blocks(1, 2);
  const auto& [f, g] = blocks[0];
  const auto x = torch::randn({2, 2}, at::kDouble);
  using Error = c10::ValueError;
  EXPECT_THROW(reversible_block(f, g, x, x, {}, options), Error);
  EXPECT_THROW(reversible_block_inverse(f, g, x, x, {}, options), Error);
  EXPECT_THROW(reversible_sequence_inverse(blocks, x, x, {}, options), Error);
  EXPECT_THROW(reversible_residual(blocks, x, {}, options), Error);
  EXPECT_THROW(reversible_residual_inverse(blocks, x, {}, options), Error);
  EXPECT_THROW(drift(blocks, x, x, {}, options), Error);
}

template <typename Options, typename = void>
struct HasBudget : std::false_type {};
template <typename Options>
struct HasBudget<
    Options,
    std::void_t<decltype(std::declval<Options>().memory_budget())>>
    : std::true_type {};

TEST(ReversibleOptionsTest, OnlyAStackCanBeGivenABudget) {
  EXPECT_TRUE(HasBudget<nn::ReversibleSequentialOptions>::value);
  EXPECT_FALSE(HasBudget<ReversibleOptions>::value);
  EXPECT_FALSE((std::is_constructible<
                nn::ReversibleBlockImpl,
                Branch,
                Branch,
                nn::ReversibleSequentialOptions>::value));
}

TEST(ReversibleOptionsTest, WithoutRngStateBranchesThatDrawNothingMatchPlain) {
  const auto options = ReversibleOptions().preserve_rng_state(false);
  EXPECT_TRUE(MatchesPlain(
      mlp_blocks(2, 4), random_inputs({3, 4}), kFloat64Tolerance, options));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
