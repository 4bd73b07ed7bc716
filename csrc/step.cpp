#include "step.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_strided.h>
#include <torch/csrc/autograd/custom_function.h>

#include "in_place.h"
#include "reversible_function.h"

namespace torchrev {
namespace detail {

Step::Step(
    std::shared_ptr<Call> call,
    const Branch& branch,
    int64_t index,
    const Tensor& other,
    at::TensorList context)
    : call(std::move(call)),
      branch(branch),
      index(index),
      chunks(this->call->options, index, other),
      context(branch.select(context)),
      parameters(branch.parameters()),
      context_witness(this->context),
      parameter_witness(parameters) {}

variable_list Step::declared() const {
  variable_list tensors;
  for (const auto* list : {&context, &parameters}) {
    for (const auto& tensor : *list) {
      if (tensor.defined() && tensor.requires_grad()) {
        tensors.push_back(tensor);
      }
    }
  }
  return tensors;
}

Tensor Step::forward(
    const Tensor& addend, const Tensor& other, bool record, bool search) {
  const auto join = [&](const Tensor& x, const Tensor& y, auto strides) {
    return call->arithmetic.join(
        place(), x, value_of(y, record, search), strides);
  };
  if (chunks.count() == 1) {
    return join(addend, other, strides_of_out());
  }
  auto out =
      at::empty_strided(addend.sizes(), strides_of_out(), addend.options());
  for (std::size_t i = 0; i < chunks.count(); ++i) {
    const auto part = chunks.of(out, i);
    part.copy_(
        join(chunks.of(addend, i), chunks.of(other, i), layout_of(part)));
  }
  return out;
}

Tensor Step::value_of(const Tensor& other, bool record, bool search) {
  const auto x = call->arithmetic.leave(other);
  auto value =
      checked_branch(place(), x, call->arithmetic.value_sizes(x.sizes()), [&] {
        return search ? run_and_search(x, record)
                      : run({x, context, parameters}, record);
      });
  branch_dtype = value.scalar_type();
  return value;
}

Tensor Step::run(const Inputs& inputs, bool record) {
  if (!record) {
    return branch.callable().forward(
        inputs.other, inputs.context, inputs.parameters);
  }
  replays.emplace_back(branch, inputs.other, call->options);
  return replays.back().record(
      place(), inputs.other, inputs.context, inputs.parameters);
}

// NOTE [Search]
// A tensor that requires grad and was not declared shows in the graph of its
// branch. That is built in backward only, or never if nothing declared requires
// grad. So the first call of a branch for which it matters runs with grad mode
// on and all its inputs detached; its graph is looked through and dropped.
Tensor Step::run_and_search(const Tensor& other, bool record) {
  torch::AutoGradMode grad_mode(true);
  LocalGraph graph(/*differentiable=*/false);
  auto value =
      run(enter(graph, other, context, /*differentiate=*/false), record);
  graph.check(place(), value);
  branch.searched() = true;
  return value.defined() ? value.detach() : value;
}

namespace {

using torch::autograd::AutogradContext;

struct StepFunction : torch::autograd::Function<StepFunction> {
  static Tensor forward(
      AutogradContext* ctx,
      const Tensor& addend,
      const Tensor& other,
      at::TensorList /*declared*/,
      const c10::intrusive_ptr<Step>& step,
      bool search) {
    ctx->set_materialize_grads(false);
    auto out = step->forward(addend, other, /*record=*/true, search);
    ctx->save_for_backward(std::exchange(step->context, {}));
    ctx->saved_data["step"] = c10::IValue::make_capsule(step);
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    // Throws if the graph was freed.
    const auto context = ctx->get_saved_variables();
    const auto step = c10::static_intrusive_pointer_cast<Step>(
        ctx->saved_data["step"].toCapsule());
    auto gradients = step->backward(context, std::move(grads[0]));
    // `step` and `search` are no tensors.
    gradients.resize(step->node->num_outputs() + 2);
    return gradients;
  }
};

}  // namespace

Tensor apply_step(
    const std::shared_ptr<Call>& call,
    const Branch& branch,
    int64_t index,
    const Tensor& addend,
    const Tensor& other,
    at::TensorList context) {
  const auto step =
      c10::make_intrusive<Step>(call, branch, index, other, context);
  const auto declared = step->declared();
  const bool grad_mode = at::GradMode::is_enabled();
  const bool tracked =
      grad_mode &&
      (addend.requires_grad() || other.requires_grad() || !declared.empty());
  const bool search = grad_mode && !branch.searched() &&
                      (branch.callable().takes_parameters() || !tracked);
  if (!tracked) {
    at::NoGradGuard no_grad;
    return step->forward(addend, other, /*record=*/false, search);
  }
  auto out = StepFunction::apply(
      addend, other, at::TensorList(declared), step, search);
  step->node = out.grad_fn().get();
  return out;
}

}  // namespace detail
}  // namespace torchrev
