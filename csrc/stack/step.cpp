#include "stack/step.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_strided.h>
#include <torch/custom_class.h>

#include <utility>

#include "branch/branch_facts.h"
#include "recompute/graph_mode.h"
#include "stack/named_function.h"
#include "tensors.h"

namespace torchrev {
namespace detail {

namespace {

using torch::autograd::AutogradContext;

RecordOptions record_options(const ReversibleOptions& options) {
  return {
      options.preserve_rng_state(),
      {options.mutable_buffers(), options.verify_constant_buffers()},
      options.verify_first_call()};
}

}  // namespace

Step::Step(
    Segment& segment,
    const StepId& id,
    const Branch& branch,
    const Tensor& other,
    at::TensorList context)
    : segment(&segment),
      id(id),
      recorded(
          place(),
          branch,
          context,
          Chunks(segment.options, id.role, other),
          record_options(segment.options)),
      reads_tracked(other.requires_grad()) {}

Tensor Step::forward(
    const Tensor& addend,
    const Tensor& other,
    const RecordedBranch::Mode& mode) {
  const auto& arithmetic = segment->arithmetic;
  const auto strides = segment->strides_of(id.role);
  const auto join = [&](const Tensor& x, const Tensor& y, auto layout) {
    const auto input = mode.record ? tracked_as(other, arithmetic.leave(y))
                                   : arithmetic.leave(y);
    auto value =
        recorded.run(input, arithmetic.value_sizes(input.sizes()), mode);
    const at::NoGradGuard no_grad;
    return arithmetic.join(place(), x, std::move(value), y, layout);
  };
  const auto& chunks = recorded.chunks();
  if (chunks.count() == 1) {
    return join(addend, other, strides);
  }
  auto out = at::empty_strided(addend.sizes(), strides, addend.options());
  for (std::size_t i = 0; i < chunks.count(); ++i) {
    const auto part = chunks.of(out, i);
    part.copy_(
        join(chunks.of(addend, i), chunks.of(other, i), layout_of(part)));
  }
  return out;
}

void Step::save_context() {
  for (const auto& tensor : recorded.release_context()) {
    context.emplace_back(tensor, /*is_output=*/false);
  }
}

variable_list Step::saved_context() const {
  variable_list tensors;
  tensors.reserve(context.size());
  for (const auto& saved : context) {
    tensors.push_back(saved.unpack());
  }
  return tensors;
}

void Step::forget() {
  freed = true;
  recorded.forget();
  context.clear();
}

namespace {

// What the node of a step owns.
struct StepHandle : torch::CustomClassHolder {
  StepHandle(std::shared_ptr<Segment> segment, Step& step)
      : segment(std::move(segment)), step(step) {}

  std::shared_ptr<Segment> segment;
  Step& step;
};

struct StepFunction : torch::autograd::Function<StepFunction> {
  static constexpr auto kName = "torchrev::ReversibleStep";

  static Tensor forward(
      AutogradContext* ctx,
      const Tensor& addend,
      const Tensor& other,
      at::TensorList /*declared*/,
      const c10::intrusive_ptr<StepHandle>& handle) {
    // An undefined gradient stays one: nothing is differentiated for it.
    ctx->set_materialize_grads(false);
    auto out = handle->step.forward(addend, other, {/*record=*/true});
    handle->step.save_context();
    ctx->saved_data["step"] = c10::IValue::make_capsule(handle);
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    const auto handle = c10::static_intrusive_pointer_cast<StepHandle>(
        ctx->saved_data["step"].toCapsule());
    auto gradients = handle->step.backward(std::move(grads[0]));
    // `handle` is no tensor.
    gradients.resize(handle->step.node->num_outputs() + 1);
    return gradients;
  }
};

}  // namespace

Tensor apply_step(
    const std::shared_ptr<Segment>& segment,
    const StepId& id,
    const Branch& branch,
    const Tensor& addend,
    const Tensor& other,
    at::TensorList context) {
  auto step = std::make_unique<Step>(*segment, id, branch, other, context);
  auto declared = step->recorded.declared();
  const bool graph = records_graph();
  const bool tracked = graph && (addend.requires_grad() ||
                                 other.requires_grad() || !declared.empty());
  if (!tracked) {
    const bool search = graph && !branch.facts().searched;
    return step->forward(addend, other, {/*record=*/false, search});
  }
  const auto handle =
      c10::make_intrusive<StepHandle>(segment, segment->add(std::move(step)));
  auto out = NamedFunction<StepFunction>::apply(
      addend, other, at::TensorList(declared), handle);
  // Not owned: the node owns the segment, and so the step.
  handle->step.node = out.grad_fn().get();
  declared.clear();
  handle->step.recorded.note_handles();
  return out;
}

}  // namespace detail
}  // namespace torchrev
