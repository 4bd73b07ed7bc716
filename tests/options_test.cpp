#include "support.h"

#include <string>

namespace torchrev {
namespace test {
namespace {

TEST(ReversibleOptionsTest, HasTheDocumentedDefaults) {
  const ReversibleOptions options;
  EXPECT_TRUE(options.preserve_rng_state());
  EXPECT_EQ(options.save_every(), 0);
  EXPECT_EQ(options.store_last(), 0);
  EXPECT_FALSE(options.memory_budget().has_value());
  EXPECT_EQ(options.chunks_f(), 1);
  EXPECT_EQ(options.chunks_g(), 1);
  EXPECT_EQ(options.chunk_dim(), 1);
  EXPECT_FALSE(options.stream_dtype().has_value());
  EXPECT_FALSE(options.fraction_bits().has_value());
  EXPECT_FALSE(options.drift_tolerance().has_value());
  EXPECT_EQ(options.coupling(), "additive");
  EXPECT_EQ(options.momentum(), 0.9);
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

struct Unsupported {
  std::string name;
  ReversibleOptions options;
  std::string value;
};

void PrintTo(const Unsupported& unsupported, std::ostream* stream) {
  *stream << unsupported.name << " = " << unsupported.value;
}

// Values that later versions give a meaning to: never silently ignored.
class UnsupportedOptionTest : public testing::TestWithParam<Unsupported> {
 protected:
  Blocks blocks = mlp_blocks(1, 2);
  Inputs inputs = random_inputs({2, 2});
};

TEST_P(UnsupportedOptionTest, ThrowsAndNamesIt) {
  const Unsupported& unsupported = GetParam();
  EXPECT_THROW_WITH(
      reversible(blocks, unsupported.options)(inputs),
      c10::NotImplementedError,
      "torchrev::reversible_sequence",
      "`" + unsupported.name + "`",
      unsupported.value);
}

TEST_P(UnsupportedOptionTest, ThrowsFromEveryEntryPoint) {
  const ReversibleOptions& options = GetParam().options;
  const auto& [f, g] = blocks[0];
  const Tensor& x = inputs.x1;
  using Error = c10::NotImplementedError;
  EXPECT_THROW(reversible_block(f, g, x, x, {}, options), Error);
  EXPECT_THROW(reversible_block_inverse(f, g, x, x, {}, options), Error);
  EXPECT_THROW(reversible_sequence_inverse(blocks, x, x, {}, options), Error);
  EXPECT_THROW(reversible_residual(blocks, x, {}, options), Error);
  EXPECT_THROW(reversible_residual_inverse(blocks, x, {}, options), Error);
}

INSTANTIATE_TEST_SUITE_P(
    EachOption,
    UnsupportedOptionTest,
    testing::Values(
        Unsupported{
            "stream_dtype",
            ReversibleOptions().stream_dtype(at::kFloat),
            "Float"},
        Unsupported{
            "fraction_bits", ReversibleOptions().fraction_bits(12), "12"},
        Unsupported{
            "drift_tolerance", ReversibleOptions().drift_tolerance(0.5), "0.5"},
        Unsupported{
            "coupling", ReversibleOptions().coupling("momentum"), "momentum"}),
    [](const auto& info) { return info.param.name; });

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
            "memory_budget", ReversibleOptions().memory_budget(512), "512"}),
    [](const auto& info) { return info.param.name; });

TEST(ReversibleOptionsTest, WithoutRngStateBranchesThatDrawNothingMatchPlain) {
  const auto options = ReversibleOptions().preserve_rng_state(false);
  EXPECT_TRUE(MatchesPlain(
      mlp_blocks(2, 4), random_inputs({3, 4}), kFloat64Tolerance, options));
}

}  // namespace
}  // namespace test
}  // namespace torchrev
