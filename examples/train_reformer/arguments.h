#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>

namespace train_reformer {

/// The sizes that a checkpoint has to agree with.
struct Shape {
  int64_t depth = 8;
  int64_t width = 128;
  int64_t heads = 4;
  /// Bytes of text that a prediction looks back on.
  int64_t context = 128;
  /// "full" or "lsh".
  std::string attention = "full";
  /// Of LSH attention: positions in a chunk, rounds of hashing.
  int64_t chunk_length = 32;
  int64_t hashes = 4;
};

/// What the command line says.
struct Arguments {
  /// A text file, or a folder of them.
  std::string text;
  int64_t max_mib = 16;
  Shape shape;
  int64_t batch = 8;
  /// Training ends after this step, counted from the start of the first run.
  int64_t steps = 500;
  double lr = 2e-3;
  int64_t seed = 1;
  /// Whether to train through torchrev or through plain autograd.
  bool reversible = true;
  /// Number of CPU threads; 0 leaves the choice to LibTorch.
  int64_t threads = 0;
  std::string save;
  /// Also save after every so many steps; 0: at the end alone.
  int64_t save_every = 0;
  std::string resume;
  std::string csv;
  /// Length of the sample in bytes.
  int64_t generate = 0;
  bool demo = false;
};

/// Reads the command line into `arguments`.
///
/// @return the exit code of a program that has nothing more to do, after --help
///         or an option that does not exist; none if it is to go on.
/// @throws UserError for a value that makes no sense.
torch::optional<int> parse(int argc, char** argv, Arguments& arguments);

}  // namespace train_reformer
