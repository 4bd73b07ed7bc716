#pragma once

#include <torch/types.h>

#include <vector>

namespace torchrev_examples {

/// Gradients exist from now on: a step that allocates them would count them
/// among its activations.
inline void allocate_gradients(const std::vector<torch::Tensor>& parameters) {
  for (const auto& parameter : parameters) {
    parameter.mutable_grad() = torch::zeros_like(parameter);
  }
}

/// Keeps their memory.
inline void zero_gradients(const std::vector<torch::Tensor>& parameters) {
  for (const auto& parameter : parameters) {
    parameter.mutable_grad().zero_();
  }
}

}  // namespace torchrev_examples
