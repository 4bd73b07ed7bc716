// Runs examples/train_reformer as a user does: what it prints, writes, returns.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "example_program.h"

namespace torchrev {
namespace test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Forward is equal to the bit; gradients, and so the losses after the first,
// differ by what reconstruction rounds. Observed after 8 steps: below 1e-6.
constexpr double kLossTolerance = 1e-5;

/// The columns of a --csv file; losses as written, with all their digits.
struct Log {
  Words losses;
  Words peaks;
};

Log read_log(const fs::path& path) {
  Log log;
  std::ifstream stream(path);
  std::string step, loss, seconds, peak;
  std::getline(stream, step);  // the header
  while (std::getline(stream, step, ',') && std::getline(stream, loss, ',') &&
         std::getline(stream, seconds, ',') && std::getline(stream, peak)) {
    log.losses.push_back(loss);
    log.peaks.push_back(peak);
  }
  return log;
}

class TrainReformerTest : public ExampleTest {
 protected:
  TrainReformerTest() : ExampleTest("train_reformer_test", TRAIN_REFORMER) {
    std::ofstream text(file("text.txt"));
    for (int i = 0; i < 2000; ++i) {
      text << "line " << i * i << "\n";
    }
  }

  /// A small model on the text, and `more`; a later option of the same name
  /// counts.
  Words words(const Words& more) const {
    Words all = {file("text.txt"), "--depth", "2", "--width", "16"};
    const Words rest = {
        "--heads", "2", "--context", "16", "--batch", "2", "--threads", "1"};
    all.insert(all.end(), rest.begin(), rest.end());
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  /// Trains the small model and returns its log.
  Log train(const std::string& csv, Words more) const {
    more.insert(more.end(), {"--csv", file(csv)});
    const auto outcome = run(words(more));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.errors;
    return read_log(file(csv));
  }
};

TEST_F(TrainReformerTest, LossesOfBothModesAreEqual) {
  for (const std::string attention : {"full", "lsh"}) {
    const Words options = {
        "--steps", "8", "--attention", attention, "--chunk-length", "4"};
    auto plain_options = options;
    plain_options.insert(plain_options.end(), {"--mode", "plain"});
    const auto reversible = train("r.csv", options).losses;
    const auto plain = train("p.csv", plain_options).losses;
    ASSERT_EQ(reversible.size(), 8u);
    ASSERT_EQ(plain.size(), 8u);
    EXPECT_EQ(reversible[0], plain[0]);
    for (std::size_t step = 0; step < plain.size(); ++step) {
      EXPECT_NEAR(
          std::stod(reversible[step]), std::stod(plain[step]), kLossTolerance);
    }
  }
}

TEST_F(TrainReformerTest, PeakBytesDoNotGrowWithDepth) {
  const auto shallow = train("2.csv", {"--steps", "2"}).peaks;
  const auto deep = train("6.csv", {"--steps", "2", "--depth", "6"}).peaks;
  ASSERT_EQ(shallow.size(), 2u);
  EXPECT_EQ(shallow, deep);
}

TEST_F(TrainReformerTest, LearnsTheText) {
  const auto losses = train("l.csv", {"--steps", "40", "--lr", "0.02"}).losses;
  ASSERT_EQ(losses.size(), 40u);
  EXPECT_LT(std::stod(losses.back()), std::stod(losses.front()) - 2);
}

TEST_F(TrainReformerTest, ResumedRunContinuesBitForBit) {
  const auto whole = train("whole.csv", {"--steps", "6"}).losses;
  train("parts.csv", {"--steps", "3", "--save", file("model.pt")});
  const auto parts =
      train("parts.csv", {"--steps", "6", "--resume", file("model.pt")}).losses;
  ASSERT_EQ(whole.size(), 6u);
  EXPECT_EQ(parts, whole);
}

TEST_F(TrainReformerTest, StopsAtCtrlCAndSaves) {
  const Program program = start(words(
      {"--steps",
       "1000000",
       "--csv",
       file("parts.csv"),
       "--save",
       file("model.pt")}));
  await([&] { return !read_log(file("parts.csv")).losses.empty(); });
  program.interrupt();
  const auto outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, kInterrupted) << outcome.errors;
  EXPECT_THAT(outcome.output, HasSubstr("interrupted after step "));
  EXPECT_THAT(outcome.output, HasSubstr("validation bits per byte"));

  const auto done = read_log(file("parts.csv")).losses.size();
  const auto steps = std::to_string(done + 2);
  const auto parts =
      train("parts.csv", {"--steps", steps, "--resume", file("model.pt")});
  const auto whole = train("whole.csv", {"--steps", steps});
  EXPECT_EQ(parts.losses, whole.losses);
}

TEST_F(TrainReformerTest, SavedModelWritesTheSameSample) {
  run(words({"--steps", "2", "--save", file("model.pt")}));
  EXPECT_FALSE(fs::exists(file("model.pt.part")));
  const auto again =
      words({"--steps", "2", "--resume", file("model.pt"), "--generate", "9"});
  const auto first = run(again);
  EXPECT_EQ(first.exit_code, 0) << first.errors;
  EXPECT_THAT(first.output, HasSubstr("the rest is the model's"));
  EXPECT_EQ(run(again).output, first.output);
}

TEST_F(TrainReformerTest, HelpListsOptions) {
  const auto outcome = run({"--help"});
  EXPECT_EQ(outcome.exit_code, 0);
  for (const auto* option : {"--depth", "--resume", "--generate", "--mode"}) {
    EXPECT_THAT(outcome.output, HasSubstr(option));
  }
}

TEST_F(TrainReformerTest, RefusesUnknownOptions) {
  const auto outcome = run({"--deep", "2"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.errors, HasSubstr("--deep"));
}

TEST_F(TrainReformerTest, RefusesHeadsThatDoNotDivideTheWidth) {
  expect_error(
      words({"--heads", "3"}),
      "train_reformer: expected `--width` to be a multiple of `--heads`, but "
      "got 16 and 3. Heads share the width equally.");
}

TEST_F(TrainReformerTest, RefusesUnknownAttention) {
  const auto outcome = run(words({"--attention", "local"}));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.errors, HasSubstr("--attention"));
}

TEST_F(TrainReformerTest, RefusesNumbersThatMakeNoSense) {
  expect_error(
      words({"--depth", "0"}),
      "train_reformer: expected `--depth` to be at least 1, but got 0. See "
      "--help for defaults.");
}

TEST_F(TrainReformerTest, NamesMissingText) {
  expect_error(
      {file("none")},
      "train_reformer: expected `" + file("none") +
          "` to be a text file or a folder, but got No such file or "
          "directory. Name an existing one.");
}

TEST_F(TrainReformerTest, NamesFolderWithoutText) {
  fs::create_directory(folder / "empty");
  const auto outcome = run({file("empty")});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(
      outcome.errors,
      HasSubstr(
          "train_reformer: expected `" + file("empty") +
          "` to hold text, but got 0 bytes in 0 files. In folders, text ends "
          "in "));
}

TEST_F(TrainReformerTest, NamesTextThatIsTooShort) {
  std::ofstream(file("short.txt")) << "short";
  expect_error(
      {file("short.txt"), "--context", "16"},
      "train_reformer: expected `" + file("short.txt") +
          "` to hold at least 340 bytes, but got 5. Name a longer text, or a "
          "smaller --context.");
}

TEST_F(TrainReformerTest, NamesMissingCheckpoint) {
  expect_error(
      words({"--resume", file("none.pt")}),
      "train_reformer: expected `" + file("none.pt") +
          "` to be readable, but got No such file or directory. Name a file "
          "that --save wrote.");
}

TEST_F(TrainReformerTest, NamesDamagedCheckpoint) {
  run(words({"--steps", "1", "--save", file("model.pt")}));
  fs::resize_file(file("model.pt"), fs::file_size(file("model.pt")) / 2);
  const auto message =
      "train_reformer: expected `" + file("model.pt") +
      "` to be a file that --save wrote, but got one that cannot be read as "
      "such. It may be damaged; resume from another.";
  expect_error(words({"--resume", file("model.pt")}), message);
  std::ofstream(file("model.pt")) << "not an archive";
  expect_error(words({"--resume", file("model.pt")}), message);
}

TEST_F(TrainReformerTest, NamesCheckpointOfAnotherShape) {
  run(words({"--steps", "1", "--save", file("model.pt")}));
  expect_error(
      words({"--resume", file("model.pt"), "--depth", "3"}),
      "train_reformer: expected the shape of `" + file("model.pt") +
          "`, --depth 2 --width 16 --heads 2 --context 16 --attention full, "
          "but "
          "got --depth 3 --width 16 --heads 2 --context 16 --attention full. "
          "Pass these options with --resume.");
}

TEST_F(TrainReformerTest, NamesFileThatCannotBeWritten) {
  expect_error(
      words({"--save", file("none/model.pt")}),
      "train_reformer: expected `" + file("none/model.pt") +
          "` to be writable, but got No such file or directory. Name a file "
          "in a folder that exists and has room.");
}

}  // namespace
}  // namespace test
}  // namespace torchrev
