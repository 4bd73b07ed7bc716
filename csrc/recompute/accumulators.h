#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "compat.h"

namespace torchrev {
namespace detail {

// The nodes at which gradients of `parameters` would arrive: a graph that ends
// in one of them holds it.
class Accumulators {
 public:
  explicit Accumulators(const std::vector<at::Tensor>& parameters) {
    for (const auto& parameter : parameters) {
      if (parameter.requires_grad() && parameter.is_leaf()) {
        nodes_.push_back(torch::autograd::impl::grad_accumulator(parameter));
      }
    }
    before_ = count();
  }
  bool are_held_more() const {
    return count() > before_;
  }
  // Whether there are graphs that end in them, besides the node of the call
  // that runs: where one of those goes meanwhile, it is not seen that there is
  // a new one.
  bool are_held_by_others() const {
    constexpr std::size_t kThisAndTheCall = 2;
    return std::any_of(nodes_.begin(), nodes_.end(), [](const auto& node) {
      return static_cast<std::size_t>(node.use_count()) > kThisAndTheCall;
    });
  }

 private:
  std::size_t count() const {
    std::size_t sum = 0;
    for (const auto& node : nodes_) {
      sum += node.use_count();
    }
    return sum;
  }

  std::vector<compat::NodePtr> nodes_;
  std::size_t before_ = 0;
};

}  // namespace detail
}  // namespace torchrev
