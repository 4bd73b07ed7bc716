// Runs examples/where_memory_goes as a user does, and adds up what it wrote.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

// The sizes of the run; no two products of them are equal.
constexpr int64_t kBatch = 2, kTokens = 12, kModel = 16, kHeads = 2;
constexpr int64_t kInner = 40, kChunks = 4;
constexpr int64_t kFloat = 4;
constexpr int64_t kStream = kBatch * kTokens * kModel * kFloat;
constexpr int64_t kHidden = kBatch * kTokens * kInner * kFloat;
constexpr int64_t kStatistics = 2 * kBatch * kTokens * kFloat;
const std::vector<int64_t> kDepths = {2, 3, 5, 9};
const std::vector<std::string> kReversible = {"reversible", "chunks_g(4)"};

std::string read(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

/// Bytes by way, part and name.
using Names = std::map<std::string, int64_t>;
using Parts = std::map<std::string, Names>;
using Numbers = std::map<std::string, Parts>;

Numbers read_numbers(const fs::path& path) {
  Numbers numbers;
  std::ifstream stream(path);
  std::string way, part, name, bytes;
  std::getline(stream, way);  // the header
  while (std::getline(stream, way, ',') && std::getline(stream, part, ',') &&
         std::getline(stream, name, '"') && std::getline(stream, name, '"') &&
         std::getline(stream, bytes)) {
    numbers[way][part][name] = std::stoll(bytes.substr(1));
  }
  return numbers;
}

/// Of all parts that begin with `prefix`.
int64_t sum(const Parts& parts, const std::string& prefix) {
  int64_t total = 0;
  for (const auto& part : parts) {
    if (part.first.rfind(prefix, 0) == 0) {
      for (const auto& name : part.second) {
        total += name.second;
      }
    }
  }
  return total;
}

struct Outcome {
  int exit_code = 0;
  std::string output;
  std::string errors;
};

class WhereMemoryGoesTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = fs::path(testing::TempDir()) /
             ("where_memory_goes_test." + std::to_string(getpid()));
    fs::create_directories(folder);
    outcome =
        run("--batch 2 --tokens 12 --d-model 16 --heads 2 --d-ff 40 --chunks 4 "
            "--depths 2,3,5,9 --csv numbers.csv --plot plot.svg");
    numbers = read_numbers(folder / "numbers.csv");
  }

  static void TearDownTestSuite() {
    fs::remove_all(folder);
  }

  /// In `folder`.
  static Outcome run(const std::string& options) {
    const auto status =
        std::system(("cd \"" + folder.string() + "\" && \"" +
                     WHERE_MEMORY_GOES + "\" " + options + " >output 2>errors")
                        .c_str());
    return {
        WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        read(folder / "output"),
        read(folder / "errors")};
  }

  static void expect_error(
      const std::string& options, const std::string& message) {
    const auto refused = run(options);
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_EQ(refused.errors, "where_memory_goes: " + message + "\n");
  }

  static int64_t at_depth(
      const std::string& way, int64_t depth, const std::string& what) {
    return numbers.at(way).at("depth " + std::to_string(depth)).at(what);
  }

  static fs::path folder;
  static Outcome outcome;
  static Numbers numbers;
};

fs::path WhereMemoryGoesTest::folder;
Outcome WhereMemoryGoesTest::outcome;
Numbers WhereMemoryGoesTest::numbers;

TEST_F(WhereMemoryGoesTest, Succeeds) {
  EXPECT_EQ(outcome.exit_code, 0) << outcome.errors;
  EXPECT_EQ(outcome.errors, "");
  ASSERT_EQ(numbers.size(), 4u);
}

TEST_F(WhereMemoryGoesTest, NamesAddUpToWhatAStackKeeps) {
  for (const auto* way : {"plain", "checkpoint"}) {
    const auto named = sum(numbers.at(way), "kept");
    EXPECT_GT(named, 0);
    EXPECT_EQ(named, numbers.at(way).at("sum").at("another layer")) << way;
    for (const auto depth : kDepths) {
      EXPECT_EQ(at_depth(way, depth, "kept"), depth * named) << way;
    }
  }
  for (const auto& way : kReversible) {
    const auto named = sum(numbers.at(way), "kept");
    for (const auto depth : kDepths) {
      EXPECT_EQ(at_depth(way, depth, "kept"), named) << way;
    }
  }
}

TEST_F(WhereMemoryGoesTest, PeaksOfPlainAutogradAreLinearInDepth) {
  const auto layer = numbers.at("plain").at("sum").at("another layer");
  const auto shallow = at_depth("plain", kDepths.front(), "peak");
  for (const auto depth : kDepths) {
    EXPECT_EQ(
        at_depth("plain", depth, "peak") - shallow,
        (depth - kDepths.front()) * layer);
  }
}

TEST_F(WhereMemoryGoesTest, ReversibleTotalsDoNotDependOnDepth) {
  for (const auto& way : kReversible) {
    EXPECT_EQ(numbers.at(way).at("sum").at("another layer"), 0);
    for (const auto depth : kDepths) {
      EXPECT_EQ(
          at_depth(way, depth, "peak"), at_depth(way, kDepths.front(), "peak"));
    }
  }
}

TEST_F(WhereMemoryGoesTest, StreamsHaveTheBytesOfTheirShapes) {
  const Names plain = {
      {"y_a = x + F(x)", kStream}, {"y = y_a + G(y_a), the next x", kStream}};
  EXPECT_EQ(numbers.at("plain").at("kept streams"), plain);
  for (const auto& way : kReversible) {
    const auto& streams = numbers.at(way).at("kept streams");
    EXPECT_EQ(streams.at("y1"), kStream);
    EXPECT_EQ(streams.at("y2"), kStream);
  }
}

TEST_F(WhereMemoryGoesTest, AttentionHasTheBytesOfItsShapes) {
  auto attention = numbers.at("plain").at("kept attention");
  for (const auto* name :
       {"normalised input", "q", "k", "v", "attention's output"}) {
    EXPECT_EQ(attention[name], kStream) << name;
  }
  EXPECT_EQ(attention["mean and 1/deviation of the norm"], kStatistics);
  ASSERT_EQ(attention.size(), 7u);
  const auto logsumexp = attention.find("logsumexp of the attention");
  if (logsumexp != attention.end()) {
    EXPECT_EQ(logsumexp->second, kBatch * kHeads * kTokens * kFloat);
  } else {  // a release whose attention is not fused
    EXPECT_GE(
        attention["weights of the attention"],
        kBatch * kHeads * kTokens * kTokens * kFloat);
  }
}

TEST_F(WhereMemoryGoesTest, FeedForwardHasTheBytesOfItsShapes) {
  const Names expected = {
      {"normalised input", kStream},
      {"mean and 1/deviation of the norm", kStatistics},
      {"hidden before GELU", kHidden},
      {"hidden after GELU", kHidden}};
  EXPECT_EQ(numbers.at("plain").at("kept feed-forward"), expected);
}

TEST_F(WhereMemoryGoesTest, CheckpointRunsAWholeLayerAgain) {
  const auto& checkpoint = numbers.at("checkpoint");
  const auto& plain = numbers.at("plain");
  EXPECT_EQ(sum(checkpoint, "kept"), kStream);
  for (const auto* group : {"streams", "attention", "feed-forward"}) {
    EXPECT_EQ(
        checkpoint.at(std::string("again ") + group),
        plain.at(std::string("kept ") + group));
  }
  EXPECT_EQ(checkpoint.at("sum").at("at once"), sum(plain, "kept"));
}

TEST_F(WhereMemoryGoesTest, ReversibleRunsOneBranchAgainAtATime) {
  auto parts = numbers.at("reversible");
  const auto f = sum(parts, "again attention");
  const auto g = sum(parts, "again feed-forward");
  EXPECT_GT(g, 2 * kHidden);
  EXPECT_EQ(parts["sum"]["at once"], std::max(f, g));
  for (const auto& name : parts["again feed-forward"]) {
    const auto& chunked = numbers.at("chunks_g(4)").at("again feed-forward");
    EXPECT_EQ(chunked.at(name.first), name.second / kChunks) << name.first;
  }
}

TEST_F(WhereMemoryGoesTest, AnswersTheQuestionAndDrawsIt) {
  EXPECT_THAT(
      outcome.output,
      HasSubstr("Why does keeping y1 and y2 cost less than keeping x and y_a?"
                "\n* Not because they are smaller"));
  const auto plot = read(folder / "plot.svg");
  EXPECT_THAT(plot, StartsWith("<svg"));
  for (const auto* way : {"plain", "checkpoint", "reversible", "chunks_g(4)"}) {
    EXPECT_THAT(plot, HasSubstr(std::string(">") + way + "</text>"));
  }
}

TEST_F(WhereMemoryGoesTest, RefusesHeadsThatDoNotDivideTheWidth) {
  expect_error(
      "--heads 3",
      "expected `--d-model` to be a multiple of `--heads`, but got 1024 and 3. "
      "Heads share the width equally.");
}

TEST_F(WhereMemoryGoesTest, RefusesMoreChunksThanTokens) {
  expect_error(
      "--tokens 4 --chunks 5",
      "expected `--chunks` to be at most `--tokens`, but got 5 and 4. A chunk "
      "holds at least one position.");
}

TEST_F(WhereMemoryGoesTest, RefusesNumbersThatMakeNoSense) {
  expect_error(
      "--depths 2,0",
      "expected `--depths` to be at least 1, but got 0. See --help for "
      "defaults.");
}

TEST_F(WhereMemoryGoesTest, NamesFileThatCannotBeWritten) {
  expect_error(
      "--plot none/plot.svg",
      "expected `none/plot.svg` to be writable, but got No such file or "
      "directory. Name a file in a folder that exists.");
}

}  // namespace
