#include "arithmetic.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/maximum.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "in_place.h"
#include "verdict.h"

namespace torchrev {
namespace detail {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Role role_of(const Place& place) {
  return place.step % 2 == 0 ? Role::kF : Role::kG;
}

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

std::shared_ptr<const Coupling> coupling_of(const ReversibleOptions& options) {
  if (options.custom_coupling()) {
    return options.custom_coupling();
  }
  if (options.coupling() == "momentum") {
    return momentum_coupling(options.momentum());
  }
  if (options.coupling() == "affine") {
    const auto& streams = options.streams();
    return affine_coupling(
        streams.kind == Streams::Kind::kSplit ? streams.dim : -1);
  }
  return nullptr;
}

using Direction =
    Tensor (Coupling::*)(const Tensor&, const Tensor&, Role) const;

// One direction of a coupling, over the stream `x`. Outside autocast, which is
// gone in backward.
Tensor run_coupling(
    const Coupling& coupling,
    Direction direction,
    const Place& place,
    const Tensor& x,
    const Tensor& value) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(
      c10::autocast_dispatch_keyset);
  const auto versions = std::make_pair(version_of(x), version_of(value));
  const auto y = (coupling.*direction)(x, value, role_of(place));
  TORCH_CHECK_VALUE(
      versions == std::make_pair(version_of(x), version_of(value)),
      "torchrev::",
      place.entry,
      ": expected the coupling at ",
      place,
      " not to write to its arguments, but got one that was modified in place. "
      "clone() it.");
  const bool kept = y.defined() && y.sizes() == x.sizes() &&
                    y.scalar_type() == x.scalar_type() &&
                    y.device() == x.device();
  TORCH_CHECK_VALUE(
      kept,
      "torchrev::",
      place.entry,
      ": expected the coupling to keep shape ",
      x.sizes(),
      ", dtype ",
      x.scalar_type(),
      " and device of the stream at ",
      place,
      ", but got ",
      y.defined() ? c10::str(y.sizes(), " and ", y.scalar_type())
                  : "an undefined tensor",
      ".");
  return y.is_alias_of(x) || y.is_alias_of(value) ? y.clone() : y;
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
    const char* entry, const ReversibleOptions& options, const Tensor& x)
    : entry_(entry),
      branch_dtype_(x.scalar_type()),
      stream_dtype_(options.stream_dtype().value_or(x.scalar_type())),
      fraction_bits_(options.fraction_bits()),
      coupling_(coupling_of(options)) {}

Tensor Arithmetic::enter(const Tensor& x) const {
  auto stream = on_grid(x.to(stream_dtype_));
  check_range(kInput, stream);
  return stream;
}

Tensor Arithmetic::leave(const Tensor& stream) const {
  return stream.to(branch_dtype_);
}

at::DimVector Arithmetic::value_sizes(at::IntArrayRef sizes) const {
  return coupling_ ? at::DimVector(coupling_->value_sizes(sizes))
                   : at::DimVector(sizes);
}

Tensor Arithmetic::couple(
    const Place& place, const Tensor& x, const Tensor& value) const {
  if (coupling_) {
    return run_coupling(
        *coupling_, &Coupling::forward, place, x, value.to(stream_dtype_));
  }
  auto out = x + on_grid(value);
  check_range(place.step, out);
  return out;
}

Tensor Arithmetic::join(
    const Place& place,
    const Tensor& x,
    Tensor value,
    at::IntArrayRef strides) const {
  if (coupling_) {
    return laid_out(couple(place, x, value), strides);
  }
  auto out = sum(x, to_grid(std::move(value)), strides);
  check_range(place.step, out);
  return out;
}

Tensor Arithmetic::separate(
    const Place& place,
    Tensor out,
    Tensor value,
    at::IntArrayRef strides) const {
  if (coupling_) {
    const auto addend = run_coupling(
        *coupling_, &Coupling::inverse, place, out, value.to(stream_dtype_));
    return laid_out(addend, strides);
  }
  return difference(std::move(out), to_grid(std::move(value)), strides);
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

// A stream that is not finite shows by itself, and loss scalers make such on
// purpose.
void Arithmetic::check_range(int64_t step, const Tensor& stream) const {
  if (!fraction_bits_ || stream.numel() == 0) {
    return;
  }
  const at::NoGradGuard no_grad;
  const auto [low, high] = at::aminmax(stream);
  const auto bits = *fraction_bits_;
  const auto mantissa = mantissa_bits(stream_dtype_);
  const auto limit = std::ldexp(1.0, static_cast<int>(mantissa - bits));
  submit_verdict(
      at::maximum(low.neg(), high),
      [place = Place{entry_, step}, bits, mantissa, limit](double largest) {
        if (!std::isfinite(largest) || largest < limit) {
          return;
        }
        const auto holds =
            mantissa - 1 - static_cast<int64_t>(std::log2(largest));
        TORCH_CHECK_VALUE(
            false,
            "torchrev::",
            place.entry,
            ": expected streams below ",
            limit,
            " in magnitude, where fraction_bits = ",
            bits,
            " is exact, but got ",
            largest,
            place.step == kInput ? " in the input" : c10::str(" after ", place),
            ". ",
            holds < 0
                ? "Normalise the branches, or use "
                : c10::str("fraction_bits(", holds, ") would hold it, or "),
            "stream_dtype(torch::kDouble).");
      });
}

}  // namespace detail
}  // namespace torchrev
