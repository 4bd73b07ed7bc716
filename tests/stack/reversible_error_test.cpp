#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

using Parameters = at::TensorList;

// A branch that counts its calls: bad arguments are found before any.
Branch counting(int* calls) {
  return Branch::function([calls](const Tensor& x, at::TensorList, Parameters) {
    ++*calls;
    return x.sin();
  });
}

class ReversibleArgumentTest : public testing::Test {
 protected:
  ~ReversibleArgumentTest() override {
    EXPECT_EQ(calls, 0) << "a branch ran before the arguments were checked";
  }

  int calls = 0;
  Branch branch = counting(&calls);
  Blocks blocks = {{branch, branch}};
  Tensor x = torch::randn({2, kWidth});
};

TEST_F(ReversibleArgumentTest, ThrowsForOddSplit) {
  EXPECT_THROW_WITH(
      reversible_residual(blocks, torch::randn({2, 7})),
      c10::ValueError,
      "torchrev::reversible_residual",
      "even",
      "7",
      "[2, 7]");
}

TEST_F(ReversibleArgumentTest, ThrowsForOddSplitOfTheInverse) {
  EXPECT_THROW_WITH(
      reversible_residual_inverse(
          blocks, torch::randn({2, 3, 4}), {}, ReversibleOptions().split(1)),
      c10::ValueError,
      "torchrev::reversible_residual_inverse",
      "even",
      "[2, 3, 4]");
}

TEST_F(ReversibleArgumentTest, ThrowsForSplitDimensionOutOfRange) {
  EXPECT_THROW_WITH(
      reversible_residual(blocks, x, {}, ReversibleOptions().split(2)),
      c10::IndexError,
      "torchrev::reversible_residual",
      "2");
}

TEST_F(ReversibleArgumentTest, ThrowsForScalar) {
  EXPECT_THROW_WITH(
      reversible_residual(blocks, torch::randn({})),
      c10::Error,
      "torchrev::reversible_residual");
}

TEST_F(ReversibleArgumentTest, ThrowsForStreamsOfDifferentShapes) {
  EXPECT_THROW_WITH(
      reversible_sequence(blocks, x, torch::randn({2, 5})),
      c10::ValueError,
      "torchrev::reversible_sequence",
      "x2",
      "[2, 5]");
}

TEST_F(ReversibleArgumentTest, ThrowsForStreamsThatWouldBroadcast) {
  EXPECT_THROW_WITH(
      reversible_block(branch, branch, x, torch::randn({1, kWidth})),
      c10::ValueError,
      "torchrev::reversible_block",
      "[1, 4]");
}

TEST_F(ReversibleArgumentTest, ThrowsForStreamsOfDifferentDtypes) {
  EXPECT_THROW_WITH(
      reversible_sequence(blocks, x, x.to(at::kDouble)),
      c10::TypeError,
      "torchrev::reversible_sequence",
      "Double");
}

TEST_F(ReversibleArgumentTest, ThrowsForStreamsOnDifferentDevices) {
  EXPECT_THROW_WITH(
      reversible_sequence(blocks, x, torch::empty_like(x, at::kMeta)),
      c10::TypeError,
      "torchrev::reversible_sequence",
      "meta");
}

TEST_F(ReversibleArgumentTest, ThrowsForIntegerInput) {
  EXPECT_THROW_WITH(
      reversible_residual(blocks, torch::ones({2, kWidth}, at::kLong)),
      c10::TypeError,
      "torchrev::reversible_residual",
      "floating",
      "Long");
}

TEST_F(ReversibleArgumentTest, ThrowsForIntegerStreams) {
  const Tensor integers = torch::ones({2, kWidth}, at::kInt);
  EXPECT_THROW_WITH(
      reversible_block_inverse(branch, branch, integers, integers),
      c10::TypeError,
      "torchrev::reversible_block_inverse",
      "floating",
      "Int");
}

TEST_F(ReversibleArgumentTest, ThrowsForUndefinedInput) {
  EXPECT_THROW_WITH(
      reversible_sequence(blocks, x, Tensor()),
      c10::Error,
      "torchrev::reversible_sequence",
      "x2",
      "undefined");
  EXPECT_THROW_WITH(
      reversible_residual(blocks, Tensor()),
      c10::Error,
      "torchrev::reversible_residual",
      "undefined");
}

TEST_F(ReversibleArgumentTest, ThrowsForEmptyListOfBlocks) {
  EXPECT_THROW_WITH(
      reversible_sequence({}, x, x),
      c10::ValueError,
      "torchrev::reversible_sequence",
      "block");
  EXPECT_THROW_WITH(
      reversible_sequence_inverse({}, x, x),
      c10::ValueError,
      "torchrev::reversible_sequence_inverse");
}

TEST_F(ReversibleArgumentTest, ThrowsForInverseOfDuplicate) {
  EXPECT_THROW_WITH(
      reversible_residual_inverse(
          blocks, x, {}, ReversibleOptions().duplicate()),
      c10::ValueError,
      "torchrev::reversible_residual_inverse",
      "duplicate");
}

TEST_F(ReversibleArgumentTest, ThrowsForContextIndexOutOfRange) {
  EXPECT_THROW_WITH(
      reversible_block(branch, branch.context({1}), x, x, {x}),
      c10::IndexError,
      "1");
}

// What a branch returned is checked right after it ran, as F and as G, forward
// and inverse.
class ReversibleResultTest : public testing::Test {
 protected:
  template <typename Error>
  void expect_throws(
      const Branch::Function& fn, const std::vector<std::string>& parts) {
    const Branch bad = Branch::function(fn);
    const Branch good = torch::nn::Identity();
    EXPECT_TRUE(
        Throws<Error>([&] { reversible_block(bad, good, x, x); }, parts));
    EXPECT_TRUE(
        Throws<Error>([&] { reversible_block(good, bad, x, x); }, parts));
    EXPECT_TRUE(Throws<Error>(
        [&] { reversible_block_inverse(good, bad, x, x); }, parts));
  }

  Tensor x = torch::randn({2, kWidth}).requires_grad_();
};

TEST_F(ReversibleResultTest, ThrowsWhenBranchChangesShape) {
  expect_throws<c10::ValueError>(
      [](const Tensor& x, at::TensorList, Parameters) {
        return x.narrow(1, 0, 3);
      },
      {"[2, 4]", "[2, 3]"});
}

TEST_F(ReversibleResultTest, ThrowsWhenResultOfBranchWouldBroadcast) {
  expect_throws<c10::ValueError>(
      [](const Tensor& x, at::TensorList, Parameters) {
        return x.narrow(0, 0, 1);
      },
      {"[2, 4]", "[1, 4]"});
}

TEST_F(ReversibleResultTest, ThrowsWhenBranchChangesDtype) {
  expect_throws<c10::TypeError>(
      [](const Tensor& x, at::TensorList, Parameters) {
        return x.to(at::kDouble);
      },
      {"Float", "Double"});
}

TEST_F(ReversibleResultTest, ThrowsWhenBranchChangesDevice) {
  expect_throws<c10::TypeError>(
      [](const Tensor& x, at::TensorList, Parameters) {
        return torch::empty_like(x, at::kMeta);
      },
      {"cpu", "meta"});
}

TEST_F(ReversibleResultTest, ThrowsWhenBranchReturnsUndefinedTensor) {
  expect_throws<c10::Error>(
      [](const Tensor&, at::TensorList, Parameters) { return Tensor(); },
      {"undefined"});
}

TEST_F(ReversibleResultTest, ThrowsWhenBranchWritesIntoItsInput) {
  x.set_requires_grad(false);
  expect_throws<c10::Error>(
      [](const Tensor& x, at::TensorList, Parameters) {
        return Tensor(x).add_(1);
      },
      {"in place"});
}

TEST_F(ReversibleResultTest, PassesOnWhatTheBranchThrows) {
  const Branch bad =
      Branch::function([](const Tensor&, at::TensorList, Parameters) -> Tensor {
        throw std::domain_error("no answer");
      });
  EXPECT_THROW(reversible_block(bad, bad, x, x), std::domain_error);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
