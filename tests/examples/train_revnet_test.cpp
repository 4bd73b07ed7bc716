// Runs examples/train_revnet as a user does: what it prints, writes, returns.
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "train_revnet_support.h"

namespace torchrev {
namespace test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const auto* const images = testing::AddGlobalTestEnvironment(new Images);

/// What the row of `network` in a table says in `column`, besides its name.
double cell(const std::string& table, const std::string& row, int column) {
  const auto at = table.rfind("\n" + row);
  if (at == std::string::npos) {
    return NAN;
  }
  std::istringstream words(table.substr(at + row.size() + 1));
  double value = NAN;
  for (int i = 0; i <= column; ++i) {
    words >> value;
  }
  return value;
}

TEST_F(TrainRevNetTest, TrainsBothNetworksFromEachSeedAndPrintsTheTable) {
  const auto outcome = run(words({"--plot", file("a.svg")}, "1,2"));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.errors;
  for (const auto* run : {"revnet seed 1", "resnet seed 1", "resnet seed 2"}) {
    EXPECT_THAT(outcome.output, HasSubstr(run + std::string(" epoch 2/2")));
  }
  EXPECT_GE(cell(outcome.output, "revnet  ", 1), 0);
  EXPECT_LE(cell(outcome.output, "resnet  ", 1), 100);
  EXPECT_THAT(read(file("a.svg")), HasSubstr(">resnet</text>"));
}

// Of bottlenecks with few channels, batch norms are a larger part.
TEST_F(TrainRevNetTest, TwinHasTheParametersOfRevNetWithinTwoPercent) {
  const std::vector<Words> options = {
      {}, {"--block", "bottleneck", "--widths", "64,128,256"}};
  for (auto more : options) {
    more.insert(more.end(), {"--bytes", "--batch", "2", "--threads", "1"});
    const auto table = run(more);
    EXPECT_EQ(table.exit_code, 0) << table.errors;
    for (const std::string depths : {"2,2,2", "4,4,4", "8,8,8"}) {
      const auto revnet = cell(table.output, "revnet       " + depths + " ", 0);
      const auto resnet = cell(table.output, "resnet       " + depths + " ", 0);
      EXPECT_NEAR(resnet / revnet, 1, 0.02) << table.output;
    }
  }
}

TEST_F(TrainRevNetTest, PeakBytesOfTheTwinAloneGrowWithDepth) {
  const auto table = run({"--bytes", "--batch", "16", "--threads", "1"}).output;
  const auto peak = [&](const std::string& row) {
    return cell(table, row, 1) - cell(table, row, 3);  // without statistics
  };
  EXPECT_EQ(peak("revnet       4,4,4 "), peak("revnet       2,2,2 "));
  EXPECT_EQ(peak("revnet       8,8,8 "), peak("revnet       2,2,2 "));
  EXPECT_GT(peak("resnet       8,8,8 "), 2 * peak("resnet       2,2,2 "));
}

TEST_F(TrainRevNetTest, LearnsTheImages) {
  const auto log = train(
      "l.csv",
      {"--images",
       "320",
       "--epochs",
       "6",
       "--lr",
       "0.2",
       "--test-images",
       "100"});
  ASSERT_EQ(log.size(), 12u);
  for (const auto epoch : {5, 11}) {
    EXPECT_GT(std::stod(log[epoch][5]), 60) << log[epoch][1];
  }
}

TEST_F(TrainRevNetTest, ResumedRunsContinueBitForBit) {
  const auto whole = train("whole.csv", {});
  ASSERT_EQ(whole.size(), 4u);
  const Words save = {"--save", file("state.pt")};
  for (const auto* steps : {"3", "4", "8", "13"}) {
    auto part = save;
    part.insert(part.end(), {"--steps", steps});
    train("parts.csv", part);
    EXPECT_FALSE(fs::exists(file("state.pt.part")));
    EXPECT_EQ(train("parts.csv", {"--resume", file("state.pt")}), whole);
  }
}

TEST_F(TrainRevNetTest, StopsAtCtrlCAndSaves) {
  const Program program = start(words(
      {"--epochs",
       "1000",
       "--csv",
       file("parts.csv"),
       "--save",
       file("state.pt")}));
  await([&] { return !read_log(file("parts.csv")).empty(); });
  program.interrupt();
  const auto outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, kInterrupted) << outcome.errors;
  EXPECT_THAT(outcome.output, HasSubstr("interrupted after step "));
  EXPECT_THAT(outcome.output, HasSubstr("saved to " + file("state.pt")));

  const auto done = read_log(file("parts.csv")).size();
  const auto steps = std::to_string(4 * (done + 1));
  const Words until = {"--epochs", "1000", "--steps", steps};
  auto again = until;
  again.insert(again.end(), {"--resume", file("state.pt")});
  EXPECT_EQ(train("parts.csv", again), train("whole.csv", until));
}

}  // namespace
}  // namespace test
}  // namespace torchrev
