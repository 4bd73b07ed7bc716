#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/function.h>
#include <torch/custom_class.h>
#include <torchrev/branch.h>
#include <torchrev/step_id.h>

#include <memory>

#include "recompute/recorded_branch.h"
#include "stack/segment.h"

namespace torchrev {
namespace detail {

// What the autograd node of a step knows: its place in a segment, and the
// branch, which can be run again.
//
// F and G of a block are two steps of one form,
//   out = addend + branch(other)
//   y1 = step(x1, x2; F),   y2 = step(x2, y1; G).
// A step saves nothing but its context. In backward it takes the pair of
// streams after it from the relay, and leaves there the pair before it:
//   addend = out - branch(other).
// In a stack that runs the other way, a step is addend - branch(other), and
// rebuilds its addend by out + branch(other).
struct Step : torch::CustomClassHolder {
  Step(
      std::shared_ptr<Segment> segment,
      const StepId& id,
      const Branch& branch,
      const Tensor& other,
      at::TensorList context);

  std::shared_ptr<Segment> segment;
  StepId id;
  RecordedBranch recorded;
  // The node that owns this.
  torch::autograd::Node* node = nullptr;
  // With create_graph, the pair after this step: a second backward may start at
  // any step, where the relay has nothing.
  StreamPair kept;

  // out = addend + branch(other).
  Tensor forward(
      const Tensor& addend,
      const Tensor& other,
      const RecordedBranch::Mode& mode);

  // Whether the running pass needs the streams before this step: they are
  // rebuilt if `other`, the result of the step before, gets a gradient.
  bool rebuilds() const;

  // The gradients of the node's inputs for `grad`, that of `out`.
  variable_list backward(const variable_list& context, Tensor grad);

  Place place() const {
    return {segment->entry, id};
  }
};

// One step, with a node in the graph if anything requires grad.
Tensor apply_step(
    const std::shared_ptr<Segment>& segment,
    const StepId& id,
    const Branch& branch,
    const Tensor& addend,
    const Tensor& other,
    at::TensorList context);

}  // namespace detail
}  // namespace torchrev
