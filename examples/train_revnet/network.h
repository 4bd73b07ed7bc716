#pragma once

#include <torch/nn/modules/container/any.h>

#include <cstdint>
#include <string>

#include "arguments.h"

namespace train_revnet {

/// A "revnet" or "resnet" for Fashion-MNIST, with new weights.
torch::nn::AnyModule make_network(const std::string& model, const Shape& shape);

int64_t count_parameters(const torch::nn::AnyModule& network);

/// What forward and backward of a training step gave.
struct Pass {
  double loss = 0;
  /// The most that they held at a time, beyond what was there before:
  /// parameters, gradients, the optimiser's state and the images.
  int64_t peak_bytes = 0;
};

/// Cross entropy of `images` and its gradients, which are added to those that
/// the network has.
Pass forward_backward(
    torch::nn::AnyModule& network,
    const torch::Tensor& images,
    const torch::Tensor& labels);

}  // namespace train_revnet
