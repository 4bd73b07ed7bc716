#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/graph_task.h>

#include <utility>

#include "stack/step.h"
#include "streams/in_place.h"
#include "tensors.h"

namespace torchrev {
namespace detail {

namespace {

using Handle = LocalGraph::Handle;
using Outer = LocalGraph::Outer;

// Inputs of a step's node, in their order; what is declared comes last.
constexpr std::size_t kAddend = 0;
constexpr std::size_t kOther = 1;
constexpr std::size_t kDeclared = 2;

// Of the inputs of a step's node.
struct Gradients {
  Tensor addend;
  Tensor other;
  variable_list declared;

  variable_list in_order() && {
    variable_list list{std::move(addend), std::move(other)};
    for (auto& gradient : declared) {
      list.push_back(std::move(gradient));
    }
    return list;
  }
};

// One backward of a step.
//
// Derivation. out = addend + branch(other) gives
//   grad_addend = grad
//   grad_other  = (d branch / d other)^T grad, likewise for what is declared,
// where the gradient of `other` through the rest of the graph is added by the
// engine: `other` is the output of the step before this one. With another
// coupling autograd gives both, from out = coupling(addend, branch(other)).
class StepBackward {
 public:
  // `pair`: the streams after the step; becomes that before it, if rebuilt.
  StepBackward(
      const Step& step,
      const variable_list& context,
      StreamPair& pair,
      const Tensor& grad);

  // Whether the streams before the step are rebuilt: somebody needs them.
  bool rebuilds() const {
    return rebuilds_;
  }

  // In one local graph: for double backward, the chunks are joined in it.
  Gradients whole();
  // Chunk by chunk, so that the activations of one chunk exist at a time.
  Gradients in_chunks();

 private:
  // A recompute of the branch, and what its value leads to.
  struct Recomputed {
    RecordedBranch::Recompute branch;
    Handle other;
    // The addend, if it is rebuilt or differentiated.
    Tensor addend;
    Handle addend_handle;
  };

  Outer outer_of(std::size_t input) const;
  template <typename Run>
  Recomputed recompute(
      LocalGraph& graph,
      const Tensor& other,
      Tensor out,
      at::IntArrayRef strides,
      const Run& run) const;
  void receive(
      LocalGraph& graph,
      const Recomputed& recomputed,
      std::size_t chunk,
      Gradients& sums) const;

  const Step& step_;
  const Arithmetic& arithmetic_;
  const variable_list& context_;
  // out before, addend after.
  Tensor& stream_;
  const Tensor& other_;
  const Tensor& grad_;
  bool rebuilds_;
  // Whether the coupling has a gradient of its own.
  bool couples_;
  // Of what is declared; none without a gradient.
  std::vector<Outer> outers_;
};

StepBackward::StepBackward(
    const Step& step,
    const variable_list& context,
    StreamPair& pair,
    const Tensor& grad)
    : step_(step),
      arithmetic_(step.segment->arithmetic),
      context_(context),
      stream_(pair.changed_by(step.id.role)),
      other_(pair.read_by(step.id.role)),
      grad_(grad),
      rebuilds_(step.node->task_should_compute_output(kOther)),
      couples_(grad.defined() && !arithmetic_.is_additive()) {
  if (grad.defined()) {
    for (auto i = kDeclared; i < step.node->num_outputs(); ++i) {
      outers_.push_back(outer_of(i));
    }
  }
}

Outer StepBackward::outer_of(std::size_t input) const {
  return grad_.defined()
             ? Outer{step_.node->next_edge(input), step_.node->task_should_compute_output(input)}
             : Outer{};
}

// Runs the branch in `graph`, by `run`, and takes its value off `out`.
template <typename Run>
StepBackward::Recomputed StepBackward::recompute(
    LocalGraph& graph,
    const Tensor& other,
    Tensor out,
    at::IntArrayRef strides,
    const Run& run) const {
  const torch::AutoGradMode grad_mode(grad_.defined());
  const auto input = graph.enter(other, outer_of(kOther));
  Recomputed recomputed{
      run(arithmetic_.leave(input.alias)), input.handle, {}, {}};
  auto value = std::move(recomputed.branch.value);
  const auto separate = [&](Tensor value) {
    const at::NoGradGuard no_grad;
    return arithmetic_.separate(
        step_.place(), std::move(out), std::move(value), other, strides);
  };
  if (!couples_) {
    graph.check(step_.place(), value);
    // The storage of the value is reused where nothing in the graph holds it.
    value = value.detach();
    if (rebuilds_) {
      recomputed.addend = separate(std::move(value));
    }
    return recomputed;
  }
  recomputed.addend = separate(value.detach());
  const auto addend = graph.enter(recomputed.addend, outer_of(kAddend));
  recomputed.addend_handle = addend.handle;
  graph.check(
      step_.place(),
      arithmetic_.couple(step_.place(), addend.alias, value, input.alias));
  return recomputed;
}

Gradients StepBackward::whole() {
  LocalGraph graph(/*differentiable=*/at::GradMode::is_enabled());
  auto recomputed = recompute(
      graph,
      other_,
      std::move(stream_),
      step_.segment->strides_of(step_.id.role),
      [&](const Tensor& x) {
        return step_.recorded.recompute(graph, x, context_, outers_);
      });
  stream_ = std::move(recomputed.addend);
  graph.backward(grad_);
  Gradients gradients;
  if (couples_) {
    gradients.addend = graph.gradient(recomputed.addend_handle);
  }
  gradients.other = graph.gradient(recomputed.other);
  for (const auto handle : recomputed.branch.declared) {
    gradients.declared.push_back(graph.gradient(handle));
  }
  return gradients;
}

Gradients StepBackward::in_chunks() {
  const auto& chunks = step_.recorded.chunks();
  const auto strides = step_.segment->strides_of(step_.id.role);
  const auto out = std::move(stream_);
  if (rebuilds_) {
    stream_ = is_reusable(out, strides)
                  ? out
                  : at::empty_strided(out.sizes(), strides, out.options());
  }
  Gradients sums;
  sums.declared.resize(step_.node->num_outputs() - kDeclared);
  for (std::size_t i = 0; i < chunks.count(); ++i) {
    LocalGraph graph(/*differentiable=*/false);
    const auto part = chunks.of(out, i);
    const auto recomputed = recompute(
        graph,
        chunks.of(other_, i),
        part,
        layout_of(part),
        [&](const Tensor& x) {
          return step_.recorded.recompute_chunk(graph, i, x, context_, outers_);
        });
    if (rebuilds_) {
      chunks.of(stream_, i).copy_(recomputed.addend);
    }
    receive(graph, recomputed, i, sums);
    graph.deliver(chunks.of(grad_, i));
  }
  return sums;
}

Tensor accumulate(Tensor sum, const Tensor& gradient) {
  const bool dense =
      sum.layout() == at::kStrided && gradient.layout() == at::kStrided;
  return dense && is_owned(sum) ? sum.add_(gradient) : sum + gradient;
}

// `other` and the addend get the gradient of each chunk in its place; what is
// declared gets the sum. (A gradient is often a transposed view, which holds
// its base as well: its data alone can be added to in place.)
void StepBackward::receive(
    LocalGraph& graph,
    const Recomputed& recomputed,
    std::size_t chunk,
    Gradients& sums) const {
  const auto in_place = [this, chunk](Tensor& whole) {
    return [this, chunk, &whole](const Tensor& gradient) {
      if (!whole.defined()) {
        whole = at::zeros_like(other_);
      }
      step_.recorded.chunks().of(whole, chunk).copy_(gradient);
    };
  };
  graph.receive(recomputed.other, in_place(sums.other));
  if (couples_) {
    graph.receive(recomputed.addend_handle, in_place(sums.addend));
  }
  for (std::size_t i = 0; i < sums.declared.size(); ++i) {
    graph.receive(
        recomputed.branch.declared[i],
        [&sum = sums.declared[i]](const Tensor& gradient) {
          sum = sum.defined() ? accumulate(std::move(sum), gradient)
                              : gradient.tensor_data();
        });
  }
}

// The pair after `step`, which the running pass has left for it.
StreamPair take_pair(Step& step) {
  auto pair = step.segment->relay.take(step.id);
  if (!pair.defined()) {
    pair = step.kept;
  }
  TORCHREV_CHECK(
      ValueError,
      pair.defined(),
      step.segment->entry,
      c10::str("the streams after ", step.place(), " to be known in backward"),
      "a pass that starts there after the graph was freed",
      "Call backward with retain_graph or create_graph.");
  if (!torch::autograd::get_current_graph_task_keep_graph()) {
    step.kept = {};
  } else if (at::GradMode::is_enabled()) {
    step.kept = pair;
  }
  return pair;
}

}  // namespace

variable_list Step::backward(const variable_list& context, Tensor grad) {
  auto pair = take_pair(*this);
  recorded.check_unchanged(context);
  Gradients gradients;
  StepBackward backward(*this, context, pair, grad);
  if (grad.defined() || backward.rebuilds()) {
    gradients = recorded.chunks().count() == 1 || at::GradMode::is_enabled()
                    ? backward.whole()
                    : backward.in_chunks();
  }
  if (backward.rebuilds()) {
    segment->relay.put(id.previous(), std::move(pair));
  }
  if (!torch::autograd::get_current_graph_task_keep_graph()) {
    recorded.forget();
  }
  if (segment->arithmetic.is_additive()) {
    gradients.addend = std::move(grad);
  }
  return std::move(gradients).in_order();
}

}  // namespace detail
}  // namespace torchrev
