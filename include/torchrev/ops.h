#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>
#include <torchrev/export.h>
#include <torchrev/options.h>

#include <tuple>

/// The operators torch.ops.torchrev.*, for TorchScript and for eager Python
/// with scripted branches. Loaded with torch.ops.load_library, or by linking.
///
///   torchrev::reversible_block(Any f, Any g, Tensor x1, Tensor x2, *, ...)
///       -> (Tensor, Tensor)
///   torchrev::reversible_block_inverse(Any f, Any g, Tensor y1, Tensor y2, *,
///       ...) -> (Tensor, Tensor)
///   torchrev::reversible_sequence(Any blocks, Tensor x1, Tensor x2, *, ...)
///       -> (Tensor, Tensor)
///   torchrev::reversible_sequence_inverse(Any blocks, Tensor y1, Tensor y2, *,
///       ...) -> (Tensor, Tensor)
///   torchrev::reversible_residual(Any blocks, Tensor x, *,
///       str streams="split", int dim=-1, ...) -> Tensor
///   torchrev::reversible_residual_inverse(Any blocks, Tensor y, *,
///       int dim=-1, ...) -> Tensor
///   torchrev::check_deferred() -> ()    (as in drift.h)
///
/// `f` and `g` are scripted modules with one tensor in and out; `blocks` is a
/// ModuleList whose items each have submodules `f` and `g`. The keywords `...`
/// are the options of ReversibleOptions but `streams`, with their names and
/// defaults; they are made from the same list. `coupling` is "additive",
/// "momentum" (with the keyword `momentum`) or "affine" (along `dim` of split
/// streams, else along the last dimension); `streams` is "split", "duplicate"
/// or "velocity".
///
/// Each has an overload `.context` with one more positional argument: a tensor,
/// None, or a list or tuple of these. A branch gets as many of them as its
/// `forward` takes after x.
///
/// The functions below are the same in C++. What is computed, gradients and
/// errors are those of `reversible.h`. Besides:
/// @throws c10::ValueError naming the item, for example `blocks[1].f`, if it is
///         missing, or if its `forward` does not take one tensor and the
///         context and return one tensor.

namespace torchrev {
namespace ops {

TORCHREV_API std::tuple<Tensor, Tensor> reversible_block(
    const torch::jit::Module& f,
    const torch::jit::Module& g,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context = {},
    const ReversibleOptions& options = {});

TORCHREV_API std::tuple<Tensor, Tensor> reversible_block_inverse(
    const torch::jit::Module& f,
    const torch::jit::Module& g,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context = {},
    const ReversibleOptions& options = {});

TORCHREV_API std::tuple<Tensor, Tensor> reversible_sequence(
    const torch::jit::Module& blocks,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context = {},
    const ReversibleOptions& options = {});

TORCHREV_API std::tuple<Tensor, Tensor> reversible_sequence_inverse(
    const torch::jit::Module& blocks,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context = {},
    const ReversibleOptions& options = {});

/// Keywords `streams` and `dim` of the operator are `options.streams()` here.
TORCHREV_API Tensor reversible_residual(
    const torch::jit::Module& blocks,
    const Tensor& x,
    at::TensorList context = {},
    const ReversibleOptions& options = {});

/// Keyword `dim` of the operator is `options.streams()` here, which have to be
/// split.
TORCHREV_API Tensor reversible_residual_inverse(
    const torch::jit::Module& blocks,
    const Tensor& y,
    at::TensorList context = {},
    const ReversibleOptions& options = {});

}  // namespace ops

namespace detail {

/// Always true. Called by the initialiser below, so that a program which uses
/// the operators by name only still links the library that registers them.
TORCHREV_API bool ops_registered() noexcept;

inline const bool ops_anchor = ops_registered();

}  // namespace detail
}  // namespace torchrev
