#pragma once

#include <ATen/core/Tensor.h>

// Letters of shapes: B sequences, R rounds, C chunks of M positions each,
// T = C M positions.

namespace torchrev {
namespace detail {

using at::Tensor;

// [B, R, C, M, *] -> [B, R, C, 2 M, *]: each chunk behind the one before it,
// the first one behind the last. One chunk stays as it is.
Tensor with_look_back(const Tensor& chunks);

// Where positions stand once a round has sorted them, and who may attend to
// whom there.
class LSHPlaces {
 public:
  // buckets [B, R, T], padding [B, T] or undefined; T a multiple of
  // `chunk_length`. Scores are of `dtype`.
  LSHPlaces(
      const Tensor& buckets,
      int64_t chunk_length,
      const Tensor& padding,
      at::ScalarType dtype);

  // What is added to scores [B, R, C, M, M or 2 M]; in float32, or float64.
  Tensor bias(bool causal) const;

  // [B, T, *] -> [B, R, C, M, *].
  Tensor sort(const Tensor& x) const;
  // [B, R, C, M, *] -> [B, R, T, *].
  Tensor unsort(const Tensor& sorted) const;

 private:
  // How many rounds bring a query and a key together, of the shape of scores.
  Tensor rounds_together() const;
  Tensor bias_of_keys() const;

  Tensor order_;    // [B, R, C, M], the position at each place
  Tensor place_;    // [B, R, T], the place of each position
  Tensor padding_;  // [B, T], or undefined
  at::TensorOptions floats_;
};

}  // namespace detail
}  // namespace torchrev
