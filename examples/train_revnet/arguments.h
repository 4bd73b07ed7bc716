#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace train_revnet {

/// The sizes of RevNet, and so of its twin.
struct Shape {
  /// Reversible blocks of each stage.
  std::vector<int64_t> depths{2, 2, 2};
  /// Channels of each stage.
  std::vector<int64_t> widths{8, 16, 32};
  std::string block = "basic";
};

/// One network, trained from one seed.
struct Run {
  std::string model;
  int64_t seed = 0;
};

/// What the command line says.
struct Arguments {
  /// Where the four idx files are, gzip-compressed or not.
  std::string data;
  /// Where compressed ones are unpacked.
  std::string unpacked;
  /// The first so many images of either part.
  int64_t images = 0;
  int64_t test_images = 0;

  /// "revnet", "resnet" or both.
  std::vector<std::string> models;
  std::vector<int64_t> seeds{1, 2};
  Shape shape;
  int64_t epochs = 8;
  int64_t batch = 128;
  double lr = 0.1;
  /// All runs together end after so many steps; 0: when they are done.
  int64_t steps = 0;
  /// Number of CPU threads; 0 leaves the choice to LibTorch.
  int64_t threads = 0;

  std::string save;
  std::string resume;
  std::string csv;
  std::string plot;
  bool bytes = false;

  /// For each seed each model, so that an early end leaves a fair comparison.
  std::vector<Run> runs() const;
};

/// Reads the command line into `arguments`.
///
/// @return the exit code of a program that has nothing more to do, after --help
///         or an option that does not exist; none if it is to go on.
/// @throws UserError for a value that makes no sense.
torch::optional<int> parse(int argc, char** argv, Arguments& arguments);

}  // namespace train_revnet
