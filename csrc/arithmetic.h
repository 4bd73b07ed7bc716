#pragma once

#include <ATen/core/DimVector.h>
#include <ATen/core/Tensor.h>
#include <torchrev/coupling.h>
#include <torchrev/options.h>

#include <memory>

#include "check.h"

namespace torchrev {
namespace detail {

// How the streams of a call take up the values of its branches: their dtype,
// their grid, their coupling.
//
// NOTE [Grid]
// On multiples of 2^-fraction_bits that stay below 2^(m - fraction_bits) in
// magnitude, m being the bits of the stream's mantissa, an addition does not
// round. So x + value - value is x to the bit.
class Arithmetic {
 public:
  // `x`: an input of the call.
  Arithmetic(
      const char* entry, const ReversibleOptions& options, const Tensor& x);

  // x as a stream; differentiable.
  Tensor enter(const Tensor& x) const;
  // A stream as branches and the caller see it; differentiable.
  Tensor leave(const Tensor& stream) const;

  // Whether the gradient of a step's addend is that of its result.
  bool is_additive() const {
    return coupling_ == nullptr;
  }
  // Of what a branch returns for a stream of `sizes`.
  at::DimVector value_sizes(at::IntArrayRef sizes) const;

  // The stream `x` after it took up `value`; differentiable.
  Tensor couple(const Place& place, const Tensor& x, const Tensor& value) const;
  // The same without a graph, and its inverse; both reuse the storage of an
  // operand that nobody else holds.
  Tensor join(
      const Place& place,
      const Tensor& x,
      Tensor value,
      at::IntArrayRef strides) const;
  Tensor separate(
      const Place& place,
      Tensor out,
      Tensor value,
      at::IntArrayRef strides) const;

 private:
  static constexpr int64_t kInput = -1;

  Tensor on_grid(const Tensor& x) const;
  Tensor to_grid(Tensor value) const;
  // Of the stream after `step`, or at the entry if that is kInput.
  void check_range(int64_t step, const Tensor& stream) const;

  const char* entry_;
  at::ScalarType branch_dtype_;
  at::ScalarType stream_dtype_;
  torch::optional<int64_t> fraction_bits_;
  // Null: additive.
  std::shared_ptr<const Coupling> coupling_;
};

}  // namespace detail
}  // namespace torchrev
