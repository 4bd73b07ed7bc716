#include "recompute/tensor_versions.h"

#include "support/support.h"

// What a tensor was in forward it has to be in backward.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::Place;
using detail::TensorVersions;

const Place kPlace{"entry", StepId{2, Role::kG}};

class TensorVersionsTest : public testing::Test {
 protected:
  std::vector<Tensor> tensors = {
      torch::ones({2}), Tensor(), torch::ones({3}), torch::ones({4})};
};

TEST_F(TensorVersionsTest, UnchangedTensorsPass) {
  const TensorVersions versions(tensors);
  tensors[0].sum();
  EXPECT_NO_THROW(versions.check(kPlace, "parameters", tensors));
}

TEST_F(TensorVersionsTest, ThatWhichWasWrittenBeforeDoesNotCount) {
  tensors[0].add_(1);
  const TensorVersions versions(tensors);
  EXPECT_NO_THROW(versions.check(kPlace, "parameters", tensors));
}

TEST_F(TensorVersionsTest, WriteInPlaceThrowsAndNamesWhatAndWhere) {
  const TensorVersions versions(tensors);
  tensors[2].add_(1);
  EXPECT_THROW_WITH(
      versions.check(kPlace, "parameters", tensors),
      c10::ValueError,
      "torchrev::entry",
      "the parameters of G of block 2 to be as in forward",
      "one of shape [3] that was modified in place",
      "Call backward first");
}

TEST_F(TensorVersionsTest, WriteThroughAViewCounts) {
  const TensorVersions versions(tensors);
  tensors[3].narrow(0, 0, 1).zero_();
  EXPECT_THROW_WITH(
      versions.check({"entry"}, "context", tensors),
      c10::ValueError,
      "the context of the branch",
      "shape [4]");
}

TEST_F(TensorVersionsTest, ChangedRequiresGradThrows) {
  const TensorVersions versions(tensors);
  tensors[0].requires_grad_();
  EXPECT_THROW_WITH(
      versions.check(kPlace, "context", tensors),
      c10::ValueError,
      "one of shape [2] whose requires_grad was changed");
}

// They have no version.
TEST_F(TensorVersionsTest, InferenceTensorsPass) {
  const c10::InferenceMode inference;
  tensors = {torch::ones({2})};
  const TensorVersions versions(tensors);
  EXPECT_NO_THROW(versions.check(kPlace, "context", tensors));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
