#include "streams/couplings.h"

#include <ATen/WrapDimUtils.h>

#include "check.h"

namespace torchrev {
namespace detail {

Tensor AdditiveCoupling::forward(
    const Tensor& x,
    const Tensor& value,
    const Tensor& /*other*/,
    const StepId& /*step*/) const {
  return x + value;
}

Tensor AdditiveCoupling::inverse(
    const Tensor& y,
    const Tensor& value,
    const Tensor& /*other*/,
    const StepId& /*step*/) const {
  return y - value;
}

void AdditiveCoupling::pretty_print(std::ostream& stream) const {
  stream << "additive_coupling()";
}

Tensor MomentumCoupling::forward(
    const Tensor& x,
    const Tensor& value,
    const Tensor& /*other*/,
    const StepId& step) const {
  return step.role == Role::kF ? x * momentum_ + value * (1 - momentum_)
                               : x + value;
}

Tensor MomentumCoupling::inverse(
    const Tensor& y,
    const Tensor& value,
    const Tensor& /*other*/,
    const StepId& step) const {
  TORCHREV_CHECK(
      ValueError,
      is_invertible(),
      "momentum_coupling",
      "a `momentum` above 0 in its inverse",
      "0",
      "Keep the activations of all blocks with store_last.");
  return step.role == Role::kF ? (y - value * (1 - momentum_)) / momentum_
                               : y - value;
}

bool MomentumCoupling::is_invertible() const {
  return momentum_ > 0;
}

void MomentumCoupling::pretty_print(std::ostream& stream) const {
  stream << "momentum_coupling(" << momentum_ << ")";
}

// [*, 2 n, *] of a branch is s' and t, [*, n, *] each; exp(tanh(s')) stays
// between 1 / e and e, so that neither direction overflows.
Tensor AffineCoupling::forward(
    const Tensor& x,
    const Tensor& value,
    const Tensor& /*other*/,
    const StepId& /*step*/) const {
  const auto halves = value.chunk(2, dim_);
  return x * halves[0].tanh().exp() + halves[1];
}

Tensor AffineCoupling::inverse(
    const Tensor& y,
    const Tensor& value,
    const Tensor& /*other*/,
    const StepId& /*step*/) const {
  const auto halves = value.chunk(2, dim_);
  return (y - halves[1]) / halves[0].tanh().exp();
}

std::vector<int64_t> AffineCoupling::value_sizes(at::IntArrayRef x) const {
  const auto dims = static_cast<int64_t>(x.size());
  TORCHREV_CHECK(
      IndexError,
      dim_ >= -dims && dim_ < dims,
      "affine_coupling",
      "`dim` to name a dimension of a stream",
      c10::str(dim_, " (shape ", x, ")"));
  auto sizes = x.vec();
  sizes[at::maybe_wrap_dim(dim_, dims)] *= 2;
  return sizes;
}

void AffineCoupling::pretty_print(std::ostream& stream) const {
  stream << "affine_coupling(" << dim_ << ")";
}

}  // namespace detail
}  // namespace torchrev
