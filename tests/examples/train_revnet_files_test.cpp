// What examples/train_revnet reads, and what it refuses.
#include <gmock/gmock.h>

#include <filesystem>
#include <string>
#ifdef TORCHREV_EXAMPLE_ZLIB
#include <zlib.h>
#endif

#include "train_revnet_support.h"

namespace torchrev {
namespace test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST_F(TrainRevNetTest, HelpListsOptions) {
  const auto outcome = run({"--help"});
  EXPECT_EQ(outcome.exit_code, 0);
  for (const auto* option : {"--model", "--resume", "--data", "--bytes"}) {
    EXPECT_THAT(outcome.output, HasSubstr(option));
  }
}

TEST_F(TrainRevNetTest, RefusesUnknownModels) {
  const auto outcome = run({"--model", "vgg"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.errors, HasSubstr("vgg"));
}

TEST_F(TrainRevNetTest, RefusesNumbersThatMakeNoSense) {
  expect_error(
      words({"--epochs", "0"}),
      "train_revnet: expected `--epochs` to be at least 1, but got 0. See "
      "--help for defaults.");
  expect_error(
      {"--depths", "2,3,2"},
      "train_revnet: expected each of `--depths` to be even and positive, but "
      "got 3. A block of ResNet stands for two of RevNet.");
  expect_error(
      {"--depths", "2"},
      "train_revnet: expected `--depths` and `--widths` to have one value a "
      "stage each, but got 1 and 3 values. Try --depths 2,2 --widths 8,16.");
}

TEST_F(TrainRevNetTest, NamesWhatTheLibraryRefuses) {
  const auto outcome =
      run({"--data", Images::folder().string(), "--widths", "8,16,31"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(
      outcome.errors,
      HasSubstr("expected each of option `widths` to be even and positive, but "
                "got 31."));
}

constexpr const char* kWayOut =
    " Install the Debian package dataset-fashion-mnist, or name a folder that "
    "has the files in --data.";

TEST_F(TrainRevNetTest, NamesMissingDataFolder) {
  expect_error(
      words({"--data", file("none")}),
      "train_revnet: expected `" + file("none") +
          "` to be a folder, but got No such file or directory." + kWayOut);
}

TEST_F(TrainRevNetTest, NamesMissingFile) {
  const auto data = linked_images();
  fs::remove(data / "t10k-labels-idx1-ubyte");
  expect_error(
      words({"--data", data.string()}),
      "train_revnet: expected `" + data.string() +
          "` to hold t10k-labels-idx1-ubyte, or the same with .gz, but got "
          "neither." +
          kWayOut);
}

TEST_F(TrainRevNetTest, NamesFileOfAnotherSize) {
  const auto data = linked_images();
  const auto labels = data / "t10k-labels-idx1-ubyte";
  fs::remove(labels);
  write(labels, idx_labels(9));
  expect_error(
      words({"--data", data.string()}),
      "train_revnet: expected `" + labels.string() +
          "` to have 10008 bytes, but got 17. It may be damaged, or of another "
          "data set.");
}

TEST_F(TrainRevNetTest, NamesFilesThatAreNotIdx) {
  const auto data = linked_images();
  const auto labels = data / "t10k-labels-idx1-ubyte";
  fs::remove(labels);
  write(labels, std::string(10008, 'x'));
  expect_error(
      words({"--data", data.string()}),
      "train_revnet: expected `" + data.string() +
          "` to hold idx files, but got files that do not begin as such. Get "
          "them from the package dataset-fashion-mnist.");
}

#ifdef TORCHREV_EXAMPLE_ZLIB

void write_compressed(const fs::path& path, const std::string& bytes) {
  const auto file = gzopen(path.c_str(), "wb1");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
}

TEST_F(TrainRevNetTest, ReadsCompressedFiles) {
  const auto data = linked_images();
  for (const auto* name :
       {"train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}) {
    fs::remove(data / name);
    write_compressed(data / (std::string(name) + ".gz"), idx_files().at(name));
  }
  const Words options = {
      "--data", data.string(), "--unpacked", file("unpacked")};
  EXPECT_EQ(train("gz.csv", options), train("plain.csv", {}));
  for (const auto& [name, bytes] : idx_files()) {
    EXPECT_TRUE(read(folder / "unpacked" / name) == bytes) << name;
  }
}

TEST_F(TrainRevNetTest, NamesDamagedCompressedFile) {
  const auto data = linked_images();
  fs::remove(data / "t10k-images-idx3-ubyte");
  const auto damaged = data / "t10k-images-idx3-ubyte.gz";
  write_compressed(damaged, idx_images(10000));
  fs::resize_file(damaged, fs::file_size(damaged) / 2);
  expect_error(
      words({"--data", data.string(), "--unpacked", file("unpacked")}),
      "train_revnet: expected `" + damaged.string() +
          "` to be a gzip-compressed file, but got one that cannot be "
          "unpacked. It may be damaged.");
}

#endif

TEST_F(TrainRevNetTest, NamesMissingCheckpoint) {
  expect_error(
      words({"--resume", file("none.pt")}),
      "train_revnet: expected `" + file("none.pt") +
          "` to be readable, but got No such file or directory. Name a file "
          "that --save wrote.");
}

TEST_F(TrainRevNetTest, NamesCheckpointOfOtherOptions) {
  train("a.csv", {"--steps", "1", "--save", file("state.pt")});
  const auto outcome = run(words({"--resume", file("state.pt")}, "3"));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(
      outcome.errors,
      HasSubstr(
          "train_revnet: expected the options of `" + file("state.pt") +
          "`, --model both --depths 2,2 --widths 4,8 --block basic --seeds "
          "1 "));
  EXPECT_THAT(outcome.errors, HasSubstr("Pass these options with --resume."));
}

TEST_F(TrainRevNetTest, NamesFileThatCannotBeWritten) {
  expect_error(
      words({"--save", file("none/state.pt")}),
      "train_revnet: expected `" + file("none/state.pt") +
          "` to be writable, but got No such file or directory. Name a file "
          "in a folder that exists and has room.");
}

}  // namespace
}  // namespace test
}  // namespace torchrev
