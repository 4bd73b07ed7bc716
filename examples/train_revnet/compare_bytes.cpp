#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/utils.h>

#include <cstdio>
#include <string>
#include <vector>

#include "../common/gradients.h"
#include "../common/progress.h"
#include "commands.h"
#include "network.h"

namespace train_revnet {
namespace {

using torchrev_examples::mebibytes;

constexpr int64_t kFactors[] = {1, 2, 4};
constexpr int64_t kImageSize = 28;

/// Of a second step: the first makes what stays.
int64_t peak_bytes(torch::nn::AnyModule& network, const torch::Tensor& images) {
  const auto labels =
      torch::zeros({images.size(0)}, torch::dtype(torch::kLong));
  torchrev_examples::allocate_gradients(network.ptr()->parameters());
  forward_backward(network, images, labels);
  return forward_backward(network, images, labels).peak_bytes;
}

/// The running statistics of the batch norms in the first stage: what of a
/// step's peak, which lies in its backward, are copies for the recompute.
int64_t statistics_bytes(
    const std::string& model, const torch::nn::Module& network) {
  int64_t bytes = 0;
  for (const auto& buffer : network.named_buffers()) {
    if (model == "revnet" && buffer.key().rfind("stage0.", 0) == 0) {
      bytes += static_cast<int64_t>(buffer.value().nbytes());
    }
  }
  return bytes;
}

std::string joined(const std::vector<int64_t>& values) {
  return fmt::format("{}", fmt::join(values, ","));
}

void print_row(const std::string& model, const Shape& shape, int64_t batch) {
  torch::manual_seed(1);
  auto network = make_network(model, shape);
  const auto images = torch::randn({batch, 1, kImageSize, kImageSize});
  const auto peak = peak_bytes(network, images);
  fmt::print(
      "{:<8}{:>10}{:>13}{:>13}{:>11}{:>13}\n",
      model,
      joined(shape.depths),
      count_parameters(network),
      peak,
      mebibytes(peak),
      statistics_bytes(model, *network.ptr()));
  std::fflush(stdout);
}

}  // namespace

void compare_bytes(const Arguments& arguments) {
  fmt::print(
      "{:<8}{:>10}{:>13}{:>13}{:>11}{:>13}\n",
      "network",
      "depths",
      "parameters",
      "peak bytes",
      "peak MiB",
      "statistics");
  for (const auto& model : arguments.models) {
    for (const auto factor : kFactors) {
      auto shape = arguments.shape;
      for (auto& depth : shape.depths) {
        depth *= factor;
      }
      print_row(model, shape, arguments.batch);
    }
  }
  fmt::print(
      "peak: what a step of {} images holds beyond parameters and gradients\n"
      "statistics: of it, copies of batch norms' running statistics, which "
      "are\nall that grows in RevNet\n",
      arguments.batch);
}

}  // namespace train_revnet
