#pragma once

#include <functional>
#include <string>
#include <vector>

#include "layer.h"

namespace where_memory_goes {

/// One way to train a stack of layers.
struct Way {
  std::string name;
  /// From `x` [N, T, d_model] to what the loss is computed from: the last
  /// stream, or the last pair of them.
  std::function<std::vector<Tensor>(const Layers& layers, const Tensor& x)>
      forward;
};

/// Plain autograd over y_a = x + F(x), y = y_a + G(y_a).
Way plain();

/// The same, but each layer keeps its input alone, and is run again in
/// backward, as torch.utils.checkpoint does it: parameters get their gradients
/// from a backward pass within the backward pass.
Way checkpoint();

/// torchrev over x1 = x2 = x.
Way reversible(int64_t chunks, bool drift_guard = true);

/// Plain autograd over the formula of `reversible`: its oracle.
Way plain_pair();

}  // namespace where_memory_goes
