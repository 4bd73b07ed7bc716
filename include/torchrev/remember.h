#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/export.h>

#include <string>

namespace torchrev {

using at::Tensor;

/// Keeps a discrete decision of a branch for its recompute: when forward calls
/// it, `tensor` is kept and returned; when the branch runs again in backward,
/// the call at the same place returns what forward kept.
///
/// A branch whose result depends continuously on its input is recomputed well
/// from rebuilt streams, which differ from the originals by rounding. One that
/// decides (hash buckets, top-k routing, a threshold) is not: a rounding can
/// flip the decision, and the gradient is then that of another function.
///
/// Several calls, also of one name, are told apart by their order, which has to
/// be the same whenever the branch runs. In plain autograd, in blocks that keep
/// their activations, and outside of a branch, it returns `tensor`. A stack
/// within a branch remembers with it.
///
/// The decision is computed in the recompute, too, and then dropped: so random
/// numbers that are drawn on the way stay in step.
///
/// TorchScript: `torch.ops.torchrev.remember(name, tensor)`.
///
/// Memory: the storage of `tensor`, from forward to backward, for each call: a
///         narrow dtype pays off.
/// Requires: `tensor` is not written to afterwards; the branch calls from the
///         thread that it was called from.
/// @param name for error messages.
/// @param tensor of an integer type or bool.
/// @throws c10::TypeError if `tensor` is of another dtype, or undefined;
///         c10::ValueError if the recompute calls in another order, less or
///         more often, or with another shape or dtype, or if the kept tensor
///         was written to.
///
/// Example:
/// ```
/// auto expert = torchrev::remember("expert", router(x).argmax(-1));
/// ```
TORCHREV_API Tensor remember(const std::string& name, const Tensor& tensor);

}  // namespace torchrev
