#pragma once

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/edge.h>
#include <torch/csrc/autograd/function.h>

namespace torchrev {
namespace detail {

using at::Tensor;

// NOTE [Grad mode]
// A branch that asks for grad mode (for statistics, for a fast path of
// attention) has to find in forward what it finds in the recompute: on, where
// the caller has it on. So forward runs with grad mode on, and without a graph
// either because autograd is left out of the dispatch (WithoutGraph), or
// because the graph is dropped when the call ends. The latter is for branches
// of which BranchFacts knows that they need it, for TorchScript, and for a
// first call.

// While it lives, operators record no graph, whatever grad mode says.
class WithoutGraph {
 public:
  WithoutGraph() : grad_mode_(true) {}

 private:
  at::AutoGradMode grad_mode_;
  at::AutoDispatchBelowAutograd below_autograd_;
};

// Whether operators record a graph here: a stack within a branch that runs
// WithoutGraph needs no nodes.
bool records_graph();

// `input`, which was cut or cast from `stream`, perhaps without a graph: a
// branch may ask whether it requires grad, and is to find what plain autograd
// would show it.
Tensor tracked_as(const Tensor& stream, Tensor input);

// An alias of `tensor` that requires grad and whose backward is an error: what
// a branch makes is differentiated in the recompute only. `edges`: those of
// what it may depend on; a pass that asks for the gradient of one of them comes
// by.
Tensor refusing_alias(
    const Tensor& tensor, const torch::autograd::edge_list& edges);

// Throws that error.
[[noreturn]] void throw_kept_by_branch();

}  // namespace detail
}  // namespace torchrev
