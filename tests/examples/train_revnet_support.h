#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "example_program.h"

/// Runs examples/train_revnet on images that look as MNIST's do.

namespace torchrev {
namespace test {

inline constexpr std::size_t kPixels = 28 * 28;

inline std::string big_endian(const std::vector<uint32_t>& numbers) {
  std::string bytes;
  for (const auto number : numbers) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      bytes.push_back(static_cast<char>(number >> shift & 0xff));
    }
  }
  return bytes;
}

/// `count` images, in each of which the height of a bright band says the label:
/// flipped or shifted, it still does. LibTorch reads no other number of images
/// than MNIST has.
inline std::string idx_images(uint32_t count) {
  auto bytes = big_endian({0x803, count, 28, 28});
  bytes.resize(bytes.size() + count * kPixels, '\0');
  for (std::size_t i = 0; i < count; ++i) {
    const auto band = (1 + 2 * (i % 10)) * 28;
    bytes.replace(16 + i * kPixels + 4 * 28, band, band, '\xff');
  }
  return bytes;
}

inline std::string idx_labels(uint32_t count) {
  auto bytes = big_endian({0x801, count});
  for (uint32_t i = 0; i < count; ++i) {
    bytes.push_back(static_cast<char>(i % 10));
  }
  return bytes;
}

inline void write(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// The idx files of all tests, by name.
inline const std::map<std::string, std::string>& idx_files() {
  static const std::map<std::string, std::string> files = {
      {"train-images-idx3-ubyte", idx_images(60000)},
      {"train-labels-idx1-ubyte", idx_labels(60000)},
      {"t10k-images-idx3-ubyte", idx_images(10000)},
      {"t10k-labels-idx1-ubyte", idx_labels(10000)}};
  return files;
}

/// The folder with the idx files, which the first test writes.
class Images : public testing::Environment {
 public:
  static std::filesystem::path folder() {
    return std::filesystem::path(testing::TempDir()) /
           ("train_revnet_images." + std::to_string(getpid()));
  }

  void SetUp() override {
    std::filesystem::create_directories(folder());
    for (const auto& [name, bytes] : idx_files()) {
      write(folder() / name, bytes);
    }
  }

  void TearDown() override {
    std::filesystem::remove_all(folder());
  }
};

/// The lines of a --csv file without the seconds, in words.
inline std::vector<Words> read_log(const std::filesystem::path& path) {
  std::vector<Words> lines;
  std::ifstream stream(path);
  std::string line;
  std::getline(stream, line);  // the header
  while (std::getline(stream, line)) {
    std::istringstream cells(line);
    Words words;
    for (std::string word; std::getline(cells, word, ',');) {
      words.push_back(word);
    }
    words.erase(words.begin() + 6);
    lines.push_back(words);
  }
  return lines;
}

class TrainRevNetTest : public ExampleTest {
 protected:
  TrainRevNetTest() : ExampleTest("train_revnet_test", TRAIN_REVNET) {}

  /// Small networks on a few images, and `more`; a later option of the same
  /// name counts, unless it is a list.
  Words words(const Words& more, const std::string& seeds = "1") const {
    Words all = {"--data", Images::folder().string(), "--seeds", seeds};
    const Words rest = {
        "--depths",
        "2,2",
        "--widths",
        "4,8",
        "--images",
        "64",
        "--test-images",
        "40",
        "--batch",
        "16",
        "--threads",
        "1",
        "--epochs",
        "2"};
    all.insert(all.end(), rest.begin(), rest.end());
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  /// Trains and returns the lines of the log.
  std::vector<Words> train(const std::string& csv, Words more) const {
    more.insert(more.end(), {"--csv", file(csv)});
    const auto outcome = run(words(more));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.errors;
    return read_log(file(csv));
  }

  /// A copy of the idx files, as links.
  std::filesystem::path linked_images() const {
    const auto copy = folder / "images";
    std::filesystem::create_directory(copy);
    for (const auto& entry :
         std::filesystem::directory_iterator(Images::folder())) {
      std::filesystem::create_symlink(
          entry.path(), copy / entry.path().filename());
    }
    return copy;
  }
};

}  // namespace test
}  // namespace torchrev
