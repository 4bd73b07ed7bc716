#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>

namespace train_revnet {

constexpr int64_t kTrainingImages = 60000;
constexpr int64_t kTestImages = 10000;

/// Images with their labels.
struct Examples {
  /// [N, 1, 28, 28], in [0, 1].
  torch::Tensor images;
  /// [N], in [0, 10).
  torch::Tensor labels;

  int64_t size() const {
    return images.size(0);
  }
};

struct FashionMnist {
  Examples training;
  Examples test;
};

/// Reads the four idx files in `folder`; where one of them is compressed, from
/// copies in `unpacked`, which are written anew.
/// @throws UserError if one is missing or is not what it should be.
FashionMnist read_images(
    const std::string& folder, const std::string& unpacked);

/// `indices` of `examples`, each flipped with a probability of one half and
/// shifted by up to 2 pixels either way, the same for the same `generator`.
Examples augmented(
    const Examples& examples,
    const torch::Tensor& indices,
    torch::Generator generator);

/// What networks see: zero mean and unit variance over the training images.
torch::Tensor normalised(const torch::Tensor& images);

/// A generator for purpose `index` of a run: what it draws depends on these
/// numbers alone, so that a run in parts equals one in one go.
torch::Generator generator_of(int64_t seed, const char* purpose, int64_t index);

}  // namespace train_revnet
