// Runs examples/06_duplicate_task.cpp as a user does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "example_program.h"

namespace torchrev {
namespace test {
namespace {

using testing::HasSubstr;

class DuplicateTaskTest : public ExampleTest {
 protected:
  DuplicateTaskTest() : ExampleTest("duplicate_task_test", DUPLICATE_TASK) {}

  Outcome run_small(const Words& more) const {
    Words words = {"--length", "16", "--vocabulary", "8", "--width", "32"};
    const Words rest = {
        "--chunk-length", "4", "--batch", "16", "--plot", file("plot.svg")};
    words.insert(words.end(), rest.begin(), rest.end());
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  }
};

/// The accuracy in the last line of a --csv file.
double last_accuracy(const std::string& csv) {
  return std::stod(csv.substr(csv.rfind(',') + 1));
}

TEST_F(DuplicateTaskTest, LSHAttentionLearnsToWriteTheWordAgain) {
  const auto outcome =
      run_small({"--steps", "600", "--csv", file("curve.csv")});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.errors;
  EXPECT_GE(last_accuracy(read(file("curve.csv"))), 0.99);
  EXPECT_THAT(read(file("plot.svg")), HasSubstr("lsh attention"));
}

TEST_F(DuplicateTaskTest, RunsWithFullAttention) {
  const auto outcome = run_small({"--steps", "2", "--attention", "full"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.errors;
}

TEST_F(DuplicateTaskTest, RefusesAnOddLength) {
  const auto outcome = run({"--length", "15"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(
      outcome.errors,
      HasSubstr("duplicate_task: expected `--length` to be even, and at least "
                "4, but got 15."));
}

TEST_F(DuplicateTaskTest, RefusesUnknownAttention) {
  const auto outcome = run_small({"--attention", "local"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.errors, HasSubstr("but got \"local\""));
}

}  // namespace
}  // namespace test
}  // namespace torchrev
