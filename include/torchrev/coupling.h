#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <torchrev/branch.h>

#include <tuple>

/// The mathematics of a reversible block as plain differentiable functions:
/// what torchrev computes, without saving memory. The oracle of every test, and
/// the way to train the same network with plain autograd.

namespace torchrev {

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
