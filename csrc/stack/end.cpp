#include "stack/end.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/custom_class.h>

#include "stack/named_function.h"

namespace torchrev {
namespace detail {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct EndState : torch::CustomClassHolder {
  EndState(
      std::shared_ptr<Segment> segment,
      const StepId& last,
      torch::optional<int64_t> merge_dim)
      : segment(std::move(segment)), last(last), merge_dim(merge_dim) {}

  std::shared_ptr<Segment> segment;
  StepId last;
  torch::optional<int64_t> merge_dim;
};

// The gradient of the merged tensor, if it was merged, is that of its halves.
void split_gradient(
    variable_list& grads, const torch::optional<int64_t>& merge_dim) {
  if (merge_dim) {
    grads =
        grads[0].defined() ? halves_of(grads[0], *merge_dim) : variable_list(2);
  }
}

// Both outputs go through one node, so that its backward runs before any step's
// even if only one of them reaches the loss.
struct End : torch::autograd::Function<End> {
  static constexpr auto kName = "torchrev::ReversibleStack";

  static variable_list forward(
      AutogradContext* ctx,
      const Tensor& y1,
      const Tensor& y2,
      const c10::intrusive_ptr<EndState>& state) {
    ctx->set_materialize_grads(false);
    ctx->saved_data["state"] = c10::IValue::make_capsule(state);
    // tensor_data: neither an input nor a view, so that writing to an output is
    // caught by its version as for any operator.
    variable_list y = state->merge_dim
                          ? variable_list{at::cat({y1, y2}, *state->merge_dim)}
                          : variable_list{y1.tensor_data(), y2.tensor_data()};
    state->segment->saved.save(y, state->merge_dim);
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    const auto state = c10::static_intrusive_pointer_cast<EndState>(
        ctx->saved_data["state"].toCapsule());
    auto& segment = *state->segment;
    const bool keeps_graph =
        torch::autograd::get_current_graph_task_keep_graph();
    {
      at::NoGradGuard no_grad;
      auto pair = segment.saved.streams(segment);
      if (!keeps_graph) {
        segment.saved.free();
      }
      segment.relay.begin(state->last, std::move(pair), keeps_graph);
    }
    split_gradient(grads, state->merge_dim);
    return {std::move(grads[0]), std::move(grads[1]), Tensor()};
  }
};

bool requires_grad(const StreamPair& y) {
  return at::GradMode::is_enabled() &&
         (y[0].requires_grad() || y[1].requires_grad());
}

}  // namespace

StreamPair apply_end(
    const std::shared_ptr<Segment>& segment,
    const StepId& last,
    const StreamPair& y) {
  if (!requires_grad(y)) {
    return y;
  }
  const auto out = NamedFunction<End>::apply(
      y[0], y[1], c10::make_intrusive<EndState>(segment, last, torch::nullopt));
  return {out[0], out[1]};
}

Tensor apply_merging_end(
    const std::shared_ptr<Segment>& segment,
    const StepId& last,
    const StreamPair& y,
    int64_t dim) {
  if (!requires_grad(y)) {
    return at::cat({y[0], y[1]}, dim);
  }
  return NamedFunction<End>::apply(
      y[0], y[1], c10::make_intrusive<EndState>(segment, last, dim))[0];
}

}  // namespace detail
}  // namespace torchrev
