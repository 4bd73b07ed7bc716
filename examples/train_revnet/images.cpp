#include "images.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/data/datasets/mnist.h>
#include <torch/utils.h>

#include <random>
#include <string>

#include "../common/error.h"
#include "idx_files.h"

namespace train_revnet {
namespace {

using torch::data::datasets::MNIST;

constexpr int64_t kSize = 28;
constexpr int64_t kLargestShift = 2;
// Of the training images of Fashion-MNIST.
constexpr double kMean = 0.2860;
constexpr double kDeviation = 0.3530;

Examples read_part(const std::string& folder, MNIST::Mode mode) {
  try {
    const MNIST part(folder, mode);
    return {part.images(), part.targets()};
  } catch (const c10::Error&) {
    torchrev_examples::fail(
        fmt::format("`{}` to hold idx files", folder),
        "files that do not begin as such",
        "Get them from the package dataset-fashion-mnist.");
  }
}

/// Integers in [0, end), one for each image.
torch::Tensor draw(int64_t end, int64_t count, torch::Generator& generator) {
  return torch::randint(end, {count}, generator, torch::dtype(torch::kLong));
}

}  // namespace

FashionMnist read_images(
    const std::string& folder, const std::string& unpacked) {
  const auto from = unpack(folder, unpacked);
  return {
      read_part(from, MNIST::Mode::kTrain),
      read_part(from, MNIST::Mode::kTest)};
}

Examples augmented(
    const Examples& examples,
    const torch::Tensor& indices,
    torch::Generator generator) {
  const auto count = indices.size(0);
  const auto edge = kLargestShift;
  const auto padded = torch::constant_pad_nd(
      examples.images.index_select(0, indices).squeeze(1),
      {edge, edge, edge, edge});  // [N, 32, 32]
  const auto pixels = torch::arange(kSize);
  const auto down = draw(2 * edge + 1, count, generator).view({-1, 1, 1});
  const auto right = draw(2 * edge + 1, count, generator).view({-1, 1, 1});
  const auto flip = draw(2, count, generator).view({-1, 1, 1}).to(torch::kBool);
  const auto rows = down + pixels.view({1, -1, 1});  // [N, 28, 1]
  const auto columns =
      right + torch::where(flip, kSize - 1 - pixels, pixels);  // [N, 1, 28]
  const auto images =
      padded.index({torch::arange(count).view({-1, 1, 1}), rows, columns});
  return {images.unsqueeze(1), examples.labels.index_select(0, indices)};
}

torch::Tensor normalised(const torch::Tensor& images) {
  return (images - kMean) / kDeviation;
}

torch::Generator generator_of(
    int64_t seed, const char* purpose, int64_t index) {
  std::string key(purpose);
  std::vector<int64_t> numbers(key.begin(), key.end());
  numbers.insert(numbers.end(), {seed, index});
  std::seed_seq mixed(numbers.begin(), numbers.end());
  uint32_t result = 0;
  mixed.generate(&result, &result + 1);
  return at::detail::createCPUGenerator(result);
}

}  // namespace train_revnet
