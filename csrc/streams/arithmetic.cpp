#include "streams/arithmetic.h"

#include <ATen/ops/empty_strided.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <cmath>

#include "streams/couplings.h"
#include "streams/in_place.h"
#include "tensors.h"

namespace torchrev {
namespace detail {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The nearest multiples of 2^-bits, in the storage of `x` if nobody else holds
// it.
Tensor rounded(Tensor x, int64_t bits) {
  const auto scale = std::ldexp(1.0, static_cast<int>(bits));
  auto y = is_owned(x) ? x.mul_(scale) : x * scale;
  return y.round_().mul_(1 / scale);
}

struct RoundStraightThrough : torch::autograd::Function<RoundStraightThrough> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, int64_t bits) {
    ctx->set_materialize_grads(false);
    return rounded(x, bits);
  }
  static variable_list backward(
      AutogradContext* /*ctx*/, variable_list& grads) {
    return {grads[0], Tensor()};
  }
};

using Formula = Tensor (Coupling::*)(
    const Tensor&, const Tensor&, const Tensor&, const StepId&) const;

std::array<uint32_t, 3> versions_of(
    const Tensor& a, const Tensor& b, const Tensor& c) {
  return {version_of(a), version_of(b), version_of(c)};
}

// A coupling of the user's can do anything; what backward relies on is checked.
// One formula of a coupling, over the stream `x`. Outside autocast, which is
// gone in backward.
Tensor run_coupling(
    const Coupling& coupling,
    Formula formula,
    const Place& place,
    const Tensor& x,
    const Tensor& value,
    const Tensor& other) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(
      c10::autocast_dispatch_keyset);
  const auto versions = versions_of(x, value, other);
  const auto y = (coupling.*formula)(x, value, other, *place.step);
  TORCHREV_CHECK(
      ValueError,
      versions == versions_of(x, value, other),
      place.entry,
      c10::str("the coupling at ", place, " not to write to its arguments"),
      "one that was modified in place",
      "clone() it.");
  const bool kept = y.defined() && y.sizes() == x.sizes() &&
                    y.scalar_type() == x.scalar_type() &&
                    y.device() == x.device();
  TORCHREV_CHECK(
      ValueError,
      kept,
      place.entry,
      c10::str(
          "the coupling to keep shape ",
          x.sizes(),
          ", dtype ",
          x.scalar_type(),
          " and device of the stream at ",
          place),
      y.defined() ? c10::str(y.sizes(), " and ", y.scalar_type())
                  : "an undefined tensor");
  // An alias would let the storage of an argument be taken for the result's.
  const bool is_new =
      !y.is_alias_of(x) && !y.is_alias_of(value) && !y.is_alias_of(other);
  return is_new ? y : y.clone();
}

// `x` with `strides`.
Tensor laid_out(const Tensor& x, at::IntArrayRef strides) {
  if (x.strides() == strides) {
    return x;
  }
  return at::empty_strided(x.sizes(), strides, x.options()).copy_(x);
}

}  // namespace

Arithmetic::Arithmetic(
    const char* entry,
    const ReversibleOptions& options,
    const Tensor& x,
    StreamCheck check,
    Direction direction)
    : entry_(entry),
      branch_dtype_(x.scalar_type()),
      stream_dtype_(options.stream_dtype().value_or(x.scalar_type())),
      fraction_bits_(options.fraction_bits()),
      coupling_(options.coupling()),
      additive_(dynamic_cast<const AdditiveCoupling*>(coupling_.get())),
      forward_(direction == Direction::kForward),
      check_(std::move(check)) {}

Tensor Arithmetic::enter(const Tensor& x) const {
  auto stream = on_grid(x.to(stream_dtype_));
  check({entry_}, stream);
  return stream;
}

Tensor Arithmetic::leave(const Tensor& stream) const {
  return stream.to(branch_dtype_);
}

at::DimVector Arithmetic::value_sizes(at::IntArrayRef sizes) const {
  return additive_ ? at::DimVector(sizes)
                   : at::DimVector(coupling_->value_sizes(sizes));
}

Tensor Arithmetic::gradient_of_value(const Tensor& grad) const {
  return forward_ || !grad.defined() ? grad : grad.neg();
}

Tensor Arithmetic::couple(
    const Place& place,
    const Tensor& x,
    const Tensor& value,
    const Tensor& other) const {
  if (!additive_) {
    return run_coupling(
        *coupling_,
        forward_ ? &Coupling::forward : &Coupling::inverse,
        place,
        x,
        value.to(stream_dtype_),
        other);
  }
  auto out = forward_ ? x + on_grid(value) : x - on_grid(value);
  check(place, out);
  return out;
}

Tensor Arithmetic::join(
    const Place& place,
    const Tensor& x,
    Tensor value,
    const Tensor& other,
    at::IntArrayRef strides) const {
  if (!additive_) {
    return laid_out(couple(place, x, value, other), strides);
  }
  auto out =
      (forward_ ? sum : difference)(x, to_grid(std::move(value)), strides);
  check(place, out);
  return out;
}

Tensor Arithmetic::separate(
    const Place& place,
    Tensor out,
    Tensor value,
    const Tensor& other,
    at::IntArrayRef strides) const {
  if (!additive_) {
    const auto addend = run_coupling(
        *coupling_,
        forward_ ? &Coupling::inverse : &Coupling::forward,
        place,
        out,
        value.to(stream_dtype_),
        other);
    return laid_out(addend, strides);
  }
  return (forward_ ? difference : sum)(
      std::move(out), to_grid(std::move(value)), strides);
}

void Arithmetic::check(const Place& place, const Tensor& stream) const {
  if (check_) {
    check_(place, stream);
  }
}

// Differentiable.
Tensor Arithmetic::on_grid(const Tensor& x) const {
  return fraction_bits_
             ? RoundStraightThrough::apply(x.to(stream_dtype_), *fraction_bits_)
             : x;
}

Tensor Arithmetic::to_grid(Tensor value) const {
  if (!fraction_bits_) {
    return value;
  }
  value = value.to(stream_dtype_);
  return rounded(std::move(value), *fraction_bits_);
}

}  // namespace detail
}  // namespace torchrev
