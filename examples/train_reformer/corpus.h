#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>

namespace train_reformer {

/// Pieces of text, and the byte that follows each byte: [N, T], int64.
struct Batch {
  torch::Tensor input;
  torch::Tensor target;
};

/// Text as bytes, the last twentieth of which is held out for validation.
class Corpus {
 public:
  /// Reads a file, or the text files of a folder in the order of their paths,
  /// up to `max_bytes`.
  /// @throws UserError if there is nothing to read.
  static Corpus read(const std::string& path, int64_t max_bytes);

  /// @throws UserError if either part is too short for a piece of `length`.
  void check_length(int64_t length) const;

  /// `count` pieces from anywhere in the training part, drawn from LibTorch's
  /// default generator.
  Batch draw(int64_t count, int64_t length) const;

  /// `count` pieces evenly spaced over the validation part.
  Batch validation(int64_t count, int64_t length) const;

  /// `count` bytes from the middle of the validation part.
  std::string validation_text(int64_t count) const;

  /// What a code for single bytes, made for the validation part, needs: bits.
  double order0_entropy() const;

  int64_t files() const {
    return files_;
  }
  int64_t training_bytes() const {
    return training_.numel();
  }
  int64_t validation_bytes() const {
    return validation_.numel();
  }

 private:
  Corpus(const std::string& path, const std::string& text, int64_t files);

  std::string path_;
  int64_t files_;
  torch::Tensor training_;    // [bytes], uint8
  torch::Tensor validation_;  // [bytes], uint8
};

}  // namespace train_reformer
