#pragma once

#include <ATen/core/Tensor.h>

// Letters of shapes: B sequences, R rounds, C chunks of M positions each,
// T = C M positions; a window of W = 2 M positions is a chunk behind the one
// before it, or M = W if there is one chunk.

namespace torchrev {
namespace detail {

using at::Tensor;

// How rounds of hashing sort positions into chunks, and who may attend to whom
// there.
class LSHRounds {
 public:
  // buckets [B, R, T], padding [B, T] or undefined; T a multiple of
  // `chunk_length`. Scores are of `dtype`.
  LSHRounds(
      const Tensor& buckets,
      int64_t chunk_length,
      const Tensor& padding,
      at::ScalarType dtype);

  int64_t count() const {
    return place_.size(1);
  }

  // [B, T, *] -> [B, C, M, *], and -> [B, C, W, *]. The first window begins
  // with the last chunk, for want of one before it.
  Tensor chunks(int64_t round, const Tensor& x) const;
  Tensor windows(int64_t round, const Tensor& x) const;
  // [B, C, M, D] -> [B, T, D], the inverse of chunks().
  Tensor unsort(int64_t round, const Tensor& sorted) const;

  // What is added to scores [B, C, M, W], in float32 or float64.
  Tensor bias(int64_t round, bool causal) const;

 private:
  Tensor window_of(int64_t round) const;
  Tensor rounds_together(int64_t round) const;
  Tensor bias_of_keys(int64_t round) const;

  Tensor order_;    // [B, R, C, M], the position at each place
  Tensor place_;    // [B, R, T], the place of each position
  Tensor padding_;  // [B, T], or undefined
  at::TensorOptions floats_;
};

}  // namespace detail
}  // namespace torchrev
