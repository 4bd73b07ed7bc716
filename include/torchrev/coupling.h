#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <torchrev/branch.h>
#include <torchrev/step_id.h>

#include <memory>
#include <ostream>
#include <tuple>
#include <vector>

/// The mathematics of a reversible block: couplings, and the additive one as
/// plain differentiable functions, which are what torchrev computes, without
/// saving memory; the oracle of every test, and the way to train the same
/// network with plain autograd.

namespace torchrev {

/// How a stream takes up the value of a branch:
///   y1 = forward(x1, F(x2), x2, F)     x2 = inverse(y2, G(y1), y1, G)
///   y2 = forward(x2, G(y1), y1, G)     x1 = inverse(y1, F(x2), x2, F)
/// Derive from it, and hand it to ReversibleOptions::coupling. It has no
/// parameters and no state: what is learned comes through `value`.
///
/// Gradients: autograd differentiates `forward`, at the rebuilt stream, with
///            respect to all three tensors.
///
/// Example:
/// ```
/// struct Scaled : torchrev::Coupling {  // y = x / 2 + value
///   Tensor forward(const Tensor& x, const Tensor& value,
///                  const Tensor&, const torchrev::StepId&) const override {
///     return x / 2 + value;
///   }
///   Tensor inverse(const Tensor& y, const Tensor& value,
///                  const Tensor&, const torchrev::StepId&) const override {
///     return (y - value) * 2;
///   }
/// };
/// ```
class TORCHREV_API Coupling {
 public:
  virtual ~Coupling() = default;

  /// @param x a stream.  @param value what the branch returned, in the dtype of
  ///     `x`.  @param other the other stream, from which the branch made it.
  /// @param step F or G of which block: coefficients may differ by layer.
  /// @return a new tensor, shape, dtype and device of `x`; no argument is
  ///     written to. Runs outside autocast. With branches in chunks it runs
  ///     chunk by chunk.
  virtual Tensor forward(
      const Tensor& x,
      const Tensor& value,
      const Tensor& other,
      const StepId& step) const = 0;
  /// `x` of `forward`'s result `y`; a new tensor, too.
  virtual Tensor inverse(
      const Tensor& y,
      const Tensor& value,
      const Tensor& other,
      const StepId& step) const = 0;
  /// Whether there is an inverse. Without one, all blocks have to keep their
  /// activations (ReversibleOptions::store_last). Default: true.
  virtual bool is_invertible() const;
  /// The shape that a branch has to return for a stream of shape `x`. Default:
  /// that of `x`.
  virtual std::vector<int64_t> value_sizes(at::IntArrayRef x) const;
  /// Prints what modules and errors call it, for example
  /// "momentum_coupling(0.9)". Default: "custom_coupling".
  virtual void pretty_print(std::ostream& stream) const;
};

/// y1 = x1 + F(x2),   y2 = x2 + G(y1): what a stack does by default, in the
/// storage of its operands where nobody else holds them.
/// Reference: Gomez et al., "The Reversible Residual Network", 2017, eq. (6).
TORCHREV_API std::shared_ptr<const Coupling> additive_coupling();

/// y1 = m x1 + (1 - m) F(x2),   y2 = x2 + G(y1).
///
/// With G the identity and x1 a velocity that starts at zero (see
/// ReversibleOptions::velocity), a momentum residual network over x2. The
/// inverse divides by m: rounding grows as m^-depth.
///
/// @param momentum m, in [0, 1); 0 has no inverse.
/// @throws c10::ValueError if `momentum` is outside.
/// Reference: Sander et al., "Momentum Residual Neural Networks", 2021.
TORCHREV_API std::shared_ptr<const Coupling> momentum_coupling(double momentum);

/// y = x exp(s) + t, where the branch returns s' and t side by side along
/// `dim`, and s = tanh(s').
///
/// @param dim of the stream, along which the branch returns twice its size.
/// Reference: Dinh et al., "Density estimation using Real NVP", 2017, eq. (7).
TORCHREV_API std::shared_ptr<const Coupling> affine_coupling(int64_t dim = -1);

/// Additive coupling:
///   y1 = x1 + F(x2)
///   y2 = x2 + G(y1)
///
/// @param x1 [*], floating point.  @param x2 [*], shape of `x1`.
/// @return {y1, y2}, shapes of `x1`, `x2`.
///
/// Gradients: plain autograd, which keeps every activation of F and G.
/// Reference: Gomez et al., "The Reversible Residual Network", 2017, eq. (6).
TORCHREV_API std::tuple<Tensor, Tensor> additive_coupling(
    const Branch& f,
    const Branch& g,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context = {});

/// Inverse of `additive_coupling`:
///   x2 = y2 - G(y1)
///   x1 = y1 - F(x2)
///
/// @return {x1, x2}. Gradients: plain autograd.
/// Reference: Gomez et al., eq. (7).
TORCHREV_API std::tuple<Tensor, Tensor> additive_coupling_inverse(
    const Branch& f,
    const Branch& g,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context = {});

/// `additive_coupling` of each block in turn.
TORCHREV_API std::tuple<Tensor, Tensor> additive_coupling_sequence(
    at::ArrayRef<BranchPair> blocks,
    Tensor x1,
    Tensor x2,
    at::TensorList context = {});

}  // namespace torchrev
