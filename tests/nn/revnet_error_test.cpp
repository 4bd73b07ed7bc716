#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

nn::RevNetOptions valid() {
  return nn::RevNetOptions().depths({1, 1}).widths({8, 16});
}

void expect_error(const nn::RevNetOptions& options, const std::string& text) {
  EXPECT_THROW_WITH(
      nn::RevNet{options}, c10::ValueError, "torchrev::nn::RevNet: " + text);
}

TEST(RevNetErrorTest, ThrowsForNoStages) {
  expect_error(
      valid().depths({}).widths({}),
      "expected option `depths` to list one or more stages, but got an empty "
      "list.");
}

TEST(RevNetErrorTest, ThrowsForListsOfUnequalLength) {
  expect_error(
      valid().depths({1, 1, 1}),
      "expected options `depths` and `widths` to be of equal length, but got "
      "[1, 1, 1] and [8, 16]. Each lists one value a stage.");
}

TEST(RevNetErrorTest, ThrowsForAStageWithoutBlocks) {
  expect_error(
      valid().depths({1, 0}),
      "expected each of option `depths` to be at least 1, but got 0. It is the "
      "number of reversible blocks of a stage.");
}

TEST(RevNetErrorTest, ThrowsForOddWidth) {
  expect_error(
      valid().widths({7, 16}),
      "expected each of option `widths` to be even and positive, but got 7. "
      "Each stream has half of the channels.");
  expect_error(valid().widths({0, 16}), "expected each of option `widths`");
}

TEST(RevNetErrorTest, ThrowsForWidthThatABottleneckCannotShare) {
  expect_error(
      valid().block("bottleneck").widths({8, 12}),
      "expected each of option `widths` to be a positive multiple of 8, but "
      "got 12. Each stream has half of the channels, and its bottleneck a "
      "quarter of these.");
}

TEST(RevNetErrorTest, ThrowsForDecreasingWidths) {
  expect_error(
      valid().widths({16, 8}),
      "expected option `widths` not to decrease, but got [16, 8]. Shortcuts "
      "add channels and drop none.");
}

TEST(RevNetErrorTest, ThrowsForUnknownBlock) {
  expect_error(
      valid().block("deep"),
      "expected option `block` to be \"basic\" or \"bottleneck\", but got "
      "\"deep\".");
}

TEST(RevNetErrorTest, ThrowsForNoClassesOrChannels) {
  expect_error(
      valid().classes(0),
      "expected option `classes` to be at least 1, but got 0.");
  expect_error(
      valid().in_channels(0),
      "expected option `in_channels` to be at least 1, but got 0.");
}

TEST(RevNetErrorTest, ThrowsForStreamsThatAreNotHalvesOfTheChannels) {
  const std::string text = "expected option `reversible` to split(1), but got ";
  expect_error(
      valid().reversible(ReversibleOptions().duplicate()),
      text + "duplicate(). Its streams are halves of the channels.");
  expect_error(
      valid().reversible(ReversibleOptions().velocity()), text + "velocity()");
  expect_error(
      valid().reversible(ReversibleOptions()),
      text + "split of dimension -1. Its");
}

TEST(RevNetErrorTest, ThrowsForChunks) {
  const auto chunked = [](int64_t f, int64_t g) {
    return valid().reversible(
        ReversibleOptions().split(1).chunks_f(f).chunks_g(g));
  };
  const std::string text =
      "expected option `reversible` to have chunks_f = chunks_g = 1, but got ";
  expect_error(chunked(2, 1), text + "2 and 1.");
  expect_error(chunked(1, 3), text + "1 and 3.");
}

TEST(RevNetErrorTest, ThrowsForImagesOfAnotherShape) {
  nn::RevNet net(valid());
  EXPECT_THROW_WITH(
      net->forward(torch::randn({2, 1, 8, 8})),
      c10::ValueError,
      "expected `x` to be of shape [N, 3, H, W], but got [2, 1, 8, 8].");
  EXPECT_THROW_WITH(
      net->forward(torch::randn({3, 8, 8})), c10::ValueError, "[3, 8, 8]");
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
