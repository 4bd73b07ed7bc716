#pragma once

#include <vector>

#include "ways.h"

namespace where_memory_goes {

/// Tensor bytes of a training step above parameters, their gradients, its input
/// and the weights of its loss.
struct Total {
  /// After forward, its output included.
  int64_t kept = 0;
  int64_t peak = 0;
};

/// A stack of layers with an input and a loss.
class Problem {
 public:
  explicit Problem(const Arguments& arguments);

  /// After forward through the first `depth` layers.
  int64_t kept(const Way& way, int64_t depth) const;
  /// Takes a step from gradients that are zero.
  Total step(const Way& way, int64_t depth) const;
  /// What the last step left: of a layer's parameters, summed over layers, and
  /// of the input.
  std::vector<Tensor> gradients() const;

  const Layer& layer() const {
    return layers_.front();
  }

  /// [N, T, d_model]; requires grad.
  const Tensor& x() const {
    return x_;
  }

 private:
  Layers first(int64_t depth) const;
  std::vector<Tensor> trained() const;

  Layers layers_;
  Tensor x_;
  Tensor weight_;
};

}  // namespace where_memory_goes
