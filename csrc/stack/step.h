#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torchrev/branch.h>
#include <torchrev/step_id.h>

#include <atomic>
#include <memory>
#include <vector>

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
struct Step {
  Step(
      Segment& segment,
      const StepId& id,
      const Branch& branch,
      const Tensor& other,
      at::TensorList context);

  // Owns this, as soon as this has a node.
  Segment* segment;
  StepId id;
  RecordedBranch recorded;
  // Whether `other` required grad in forward: a branch may ask.
  bool reads_tracked;
  // Its place among the steps of the segment.
  std::size_t index = 0;
  // The node of this. It may die before the segment does; what is called while
  // it runs may use it.
  torch::autograd::Node* node = nullptr;
  // The context that the branch takes.
  std::vector<torch::autograd::SavedVariable> context;
  // The pair after this step, where a pass may start here; see
  // NOTE [Inner passes].
  HandedPair kept;
  // Whether a pass that frees the graph has run this step.
  std::atomic<bool> freed{false};

  // out = addend + branch(other).
  Tensor forward(
      const Tensor& addend,
      const Tensor& other,
      const RecordedBranch::Mode& mode);

  // Whether the running pass needs the streams before this step: they are
  // rebuilt if `other`, the result of the step before, gets a gradient.
  bool rebuilds() const;

  // Whether the running pass runs the step before this one, too.
  bool step_before_runs() const;

  // The gradients of the node's inputs for `grad`, that of `out`.
  variable_list backward(Tensor grad);

  // The pair before this step from that after it; no gradient.
  StreamPair undo(const variable_list& context, StreamPair pair) const;

  // Takes the context over from the branch, and hands it out.
  void save_context();
  variable_list saved_context() const;

  // Drops what only another backward would need.
  void forget();

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
