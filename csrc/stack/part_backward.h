#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/grad_mode.h>

#include <vector>

#include "recompute/graph_mode.h"
#include "recompute/local_graph.h"
#include "recompute/recorded_branch.h"
#include "stack/step.h"

namespace torchrev {
namespace detail {

// The inputs of a step's node, and what is asked for in backward.
struct StepInputs {
  LocalGraph::Outer addend;
  LocalGraph::Outer other;
  // Context and parameters that require grad.
  std::vector<LocalGraph::Outer> declared;

  // Nothing is wanted.
  StepInputs() = default;
  // What the running pass wants.
  explicit StepInputs(const Step& step);
};

// The gradients of these inputs.
struct StepGradients {
  Tensor addend;
  Tensor other;
  variable_list declared;

  // As the node returns them.
  variable_list in_order() &&;
};

// The backward of a step for one part of its streams, all of them or a chunk:
// recomputes the branch in a local graph, rebuilds the addend, and lets the
// caller back-propagate.
//
// Derivation. out = addend + branch(other) gives
//   grad_addend = grad
//   grad_other  = (d branch / d other)^T grad, likewise for what is declared,
// and -grad in place of grad there for out = addend - branch(other),
// where the gradient of `other` through the rest of the graph is added by the
// engine: `other` is the output of the step before this one. With another
// coupling autograd gives both, from out = coupling(addend, branch(other)).
struct PartBackward {
  // What is asked for.
  struct Wanted {
    const variable_list& context;
    const StepInputs& inputs;
    bool rebuild;
    bool differentiate;
  };
  // The part.
  struct Part {
    Tensor out;
    const Tensor& other;
    at::IntArrayRef strides;
  };

  // `run(graph, x)` recomputes the branch for `x`, what the branch sees of
  // `part.other`.
  template <typename Run>
  PartBackward(
      const Step& step, const Wanted& wanted, Part part, const Run& run)
      : graph(/*differentiable=*/at::GradMode::is_enabled()) {
    // Grad mode is on as in forward, which a branch may ask for; a graph is
    // built where somebody uses it.
    const torch::AutoGradMode grad_mode(true);
    torch::optional<WithoutGraph> without;
    if (!wanted.differentiate && !step.recorded.needs_graph()) {
      without.emplace();
    }
    auto input = graph.enter(part.other, wanted.inputs.other);
    other = input.handle;
    const auto& arithmetic = step.segment->arithmetic;
    branch = run(graph, tracked_as(input.alias, arithmetic.leave(input.alias)));
    finish(step, wanted, std::move(part), input.alias);
  }

  // Of what the graph was checked for, from `grad`, that of the result.
  Tensor gradient_of_root(const Step& step, const Tensor& grad) const;

  LocalGraph graph;
  RecordedBranch::Recompute branch;
  LocalGraph::Handle other;
  // The addend, if it is rebuilt or differentiated.
  Tensor addend;
  // Of the addend, if the coupling has a gradient of its own.
  torch::optional<LocalGraph::Handle> coupled;

 private:
  // Takes the value of the branch off `part.out`.
  void finish(
      const Step& step, const Wanted& wanted, Part part, const Tensor& alias);
};

}  // namespace detail
}  // namespace torchrev
