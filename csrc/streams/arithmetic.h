#pragma once

#include <ATen/core/DimVector.h>
#include <ATen/core/Tensor.h>
#include <torchrev/coupling.h>
#include <torchrev/options.h>

#include <functional>
#include <memory>

#include "check.h"
#include "streams/direction.h"

namespace torchrev {
namespace detail {

// Sees what an Arithmetic adds up on its grid: the input, if `place` names no
// step, or the stream after a step. Only the additive coupling has a grid; of
// another one, the input alone is seen.
using StreamCheck = std::function<void(const Place& place, const Tensor&)>;

// How the streams of a stack take up the values of its branches: their dtype,
// their grid, their coupling. A stack that runs the other way takes them up by
// the inverse of the coupling, and rebuilds streams by the coupling.
//
// NOTE [Grid]
// On multiples of 2^-fraction_bits that stay below 2^(m - fraction_bits) in
// magnitude, m being the bits of the stream's mantissa, an addition does not
// round. So x + value - value is x to the bit.
class Arithmetic {
 public:
  // `x`: an input of the call. `check`: of what has to hold on the grid.
  Arithmetic(
      const char* entry,
      const ReversibleOptions& options,
      const Tensor& x,
      StreamCheck check = nullptr,
      Direction direction = Direction::kForward);

  // x as a stream; differentiable.
  Tensor enter(const Tensor& x) const;
  // A stream as branches and the caller see it; differentiable.
  Tensor leave(const Tensor& stream) const;

  // Whether the gradient of a step's addend is that of its result.
  bool is_additive() const {
    return additive_;
  }
  // Of the value that an additive step took up, from `grad`, that of its
  // result; differentiable.
  Tensor gradient_of_value(const Tensor& grad) const;
  // Of what a branch returns for a stream of `sizes`.
  at::DimVector value_sizes(at::IntArrayRef sizes) const;

  // The stream `x` after it took up `value`; differentiable.
  Tensor couple(
      const Place& place,
      const Tensor& x,
      const Tensor& value,
      const Tensor& other) const;
  // The same without a graph, and its inverse; both reuse the storage of an
  // operand that nobody else holds.
  Tensor join(
      const Place& place,
      const Tensor& x,
      Tensor value,
      const Tensor& other,
      at::IntArrayRef strides) const;
  Tensor separate(
      const Place& place,
      Tensor out,
      Tensor value,
      const Tensor& other,
      at::IntArrayRef strides) const;

 private:
  Tensor on_grid(const Tensor& x) const;
  Tensor to_grid(Tensor value) const;
  void check(const Place& place, const Tensor& stream) const;

  const char* entry_;
  at::ScalarType branch_dtype_;
  at::ScalarType stream_dtype_;
  torch::optional<int64_t> fraction_bits_;
  std::shared_ptr<const Coupling> coupling_;
  bool additive_;
  // Whether streams take up values by the coupling, not by its inverse.
  bool forward_;
  StreamCheck check_;
};

}  // namespace detail
}  // namespace torchrev
