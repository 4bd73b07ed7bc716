#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <torchrev/branch.h>

#include <memory>
#include <tuple>
#include <vector>

/// The mathematics of a reversible block: couplings, and the additive one as
/// plain differentiable functions, which are what torchrev computes, without
/// saving memory; the oracle of every test, and the way to train the same
/// network with plain autograd.

namespace torchrev {

/// The two residual functions of a block.
enum class Role { kF, kG };

/// How a stream takes up the value of a branch:
///   y1 = forward(x1, F(x2), kF)     x2 = inverse(y2, G(y1), kG)
///   y2 = forward(x2, G(y1), kG)     x1 = inverse(y1, F(x2), kF)
/// Derive from it, and hand it to ReversibleOptions::custom_coupling. It has no
/// parameters and no state: what is learned comes through `value`.
///
/// Gradients: autograd differentiates `forward`, at the rebuilt stream.
///
/// Example:
/// ```
/// struct Scaled : torchrev::Coupling {  // y = x / 2 + value
///   Tensor forward(const Tensor& x, const Tensor& value, Role) const override
///   {
///     return x / 2 + value;
///   }
///   Tensor inverse(const Tensor& y, const Tensor& value, Role) const override
///   {
///     return (y - value) * 2;
///   }
/// };
/// ```
class TORCHREV_API Coupling {
 public:
  virtual ~Coupling() = default;

  /// @param x a stream.  @param value what the branch returned, in the dtype of
  ///     `x`.
  /// @return a new tensor, shape, dtype and device of `x`; neither argument is
  ///     written to. Runs outside autocast. With branches in chunks it runs
  ///     chunk by chunk.
  virtual Tensor forward(
      const Tensor& x, const Tensor& value, Role role) const = 0;
  /// `x` of `forward`'s result `y`; a new tensor, too.
  virtual Tensor inverse(
      const Tensor& y, const Tensor& value, Role role) const = 0;
  /// The shape that a branch has to return for a stream of shape `x`. Default:
  /// that of `x`.
  virtual std::vector<int64_t> value_sizes(at::IntArrayRef x) const;
};

/// y1 = m x1 + (1 - m) F(x2),   y2 = x2 + G(y1).
///
/// With G the identity and x1 a velocity that starts at zero (see
/// ReversibleOptions::velocity), a momentum residual network over x2. The
/// inverse divides by m: rounding grows as m^-depth.
///
/// @param momentum m, in [0, 1); 0 has no inverse.
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
