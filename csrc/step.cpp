#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "check.h"
#include "compat.h"
#include "local_gradient.h"
#include "replay.h"
#include "reversible_function.h"
#include "witness.h"

namespace torchrev {
namespace detail {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Inputs of a step's node, in this order: addend, other, the context tensors
// that require grad, the parameters that require grad.
constexpr std::size_t kOther = 1;

// What a step's node knows: how its branch ran, and where it stands.
struct StepState : torch::CustomClassHolder {
  StepState(
      std::shared_ptr<Call> call,
      const Branch& branch,
      int64_t step,
      at::TensorList context)
      : call(std::move(call)),
        branch(branch),
        step(step),
        context(branch.select(context)),
        parameters(branch.parameters()),
        context_witness(this->context),
        parameter_witness(parameters) {}

  std::shared_ptr<Call> call;
  Branch branch;
  int64_t step;
  // Moves to the node's saved variables in forward.
  variable_list context;
  variable_list parameters;
  Witness context_witness;
  Witness parameter_witness;
  torch::optional<Replay> replay;
  at::ScalarType branch_dtype = at::kFloat;
  // The node that owns this state.
  torch::autograd::Node* node = nullptr;
  // Kept for double backward, which may start at any step.
  StreamPair kept;

  // What the branch is called with.
  struct Inputs {
    Tensor other;
    variable_list context;
    variable_list parameters;
  };

  variable_list declared() const;
  Tensor forward(
      const Tensor& addend, const Tensor& other, bool record, bool search);
  variable_list backward(const variable_list& context, Tensor grad);

 private:
  Tensor run(const Inputs& inputs, bool record);
  Tensor run_and_search(const Tensor& other, bool record);
  Inputs enter(
      LocalGraph& graph,
      const Tensor& other,
      const variable_list& context,
      bool differentiate) const;
  Tensor recompute(
      LocalGraph& graph,
      Rerun& rerun,
      const Tensor& other,
      const variable_list& context,
      bool differentiate) const;
  StreamPair take_pair();
  void check_recomputed(const Tensor& value, const Tensor& other) const;

  bool is_f() const {
    return step % 2 == 0;
  }
  Place place() const {
    return {call->entry, step};
  }
  at::IntArrayRef strides_of_out() const {
    return call->strides[is_f() ? 0 : 1];
  }
};

variable_list StepState::declared() const {
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

Tensor StepState::forward(
    const Tensor& addend, const Tensor& other, bool record, bool search) {
  auto value = checked_branch(place(), other, [&] {
    return search ? run_and_search(other, record)
                  : run({other, context, parameters}, record);
  });
  branch_dtype = value.scalar_type();
  return sum(addend, std::move(value), strides_of_out());
}

Tensor StepState::run(const Inputs& inputs, bool record) {
  if (!record) {
    return branch.callable().forward(
        inputs.other, inputs.context, inputs.parameters);
  }
  replay.emplace(branch, inputs.other, call->options);
  return replay->record(
      place(), inputs.other, inputs.context, inputs.parameters);
}

// NOTE [Search]
// A tensor that requires grad and was not declared shows in the graph of its
// branch. That is built in backward only, or never if nothing declared requires
// grad. So the first call of a branch for which it matters runs with grad mode
// on and all its inputs detached; its graph is looked through and dropped.
Tensor StepState::run_and_search(const Tensor& other, bool record) {
  torch::AutoGradMode grad_mode(true);
  LocalGraph graph(/*differentiable=*/false);
  auto value =
      run(enter(graph, other, context, /*differentiate=*/false), record);
  graph.check(place(), value);
  branch.searched() = true;
  return value.defined() ? value.detach() : value;
}

StepState::Inputs StepState::enter(
    LocalGraph& graph,
    const Tensor& other,
    const variable_list& context,
    bool differentiate) const {
  std::size_t input = kOther;
  const auto alias = [&](const Tensor& tensor) {
    const auto nr = input++;
    return differentiate ? graph.enter(
                               tensor,
                               node->next_edge(nr),
                               node->task_should_compute_output(nr))
                         : graph.enter(tensor, {}, false);
  };
  Inputs inputs{alias(other), {}, {}};
  for (const auto& tensor : context) {
    const bool declared = tensor.defined() && tensor.requires_grad();
    inputs.context.push_back(declared ? alias(tensor) : tensor);
  }
  if (branch.callable().takes_parameters()) {
    for (const auto& tensor : parameters) {
      inputs.parameters.push_back(
          tensor.requires_grad() ? alias(tensor) : tensor);
    }
    return inputs;
  }
  for (const auto& tensor : parameters) {
    if (tensor.requires_grad()) {
      const auto nr = input++;
      graph.declare(
          tensor, differentiate && node->task_should_compute_output(nr));
    }
  }
  return inputs;
}

// The branch's result without its graph, which `graph` holds on to.
Tensor StepState::recompute(
    LocalGraph& graph,
    Rerun& rerun,
    const Tensor& other,
    const variable_list& context,
    bool differentiate) const {
  torch::AutoGradMode grad_mode(differentiate);
  Tensor value;
  {
    const auto inputs = enter(graph, other, context, differentiate);
    value = rerun(inputs.other, inputs.context, inputs.parameters);
  }
  check_recomputed(value, other);
  graph.check(place(), value);
  return value.detach();
}

// Derivation. out = addend + branch(other) gives
//   grad_addend = grad
//   grad_other  = (d branch / d other)^T grad, likewise for what is declared,
// where the gradient of `other` through the rest of the graph is added by the
// engine: `other` is the output of the step before this one.
variable_list StepState::backward(const variable_list& context, Tensor grad) {
  auto pair = take_pair();
  auto out = std::move(pair[is_f() ? 0 : 1]);
  auto other = std::move(pair[is_f() ? 1 : 0]);
  context_witness.check(place(), "context", context);
  parameter_witness.check(place(), "parameters", parameters);

  const bool differentiate = grad.defined();
  const bool rebuild = node->task_should_compute_output(kOther);
  Tensor addend;
  variable_list gradients;
  if (differentiate || rebuild) {
    LocalGraph graph(/*differentiable=*/at::GradMode::is_enabled());
    Rerun rerun(*replay);
    auto value = recompute(graph, rerun, other, context, differentiate);
    if (rebuild) {
      addend = difference(std::move(out), std::move(value), strides_of_out());
    }
    out.reset();
    value.reset();
    gradients = graph.backward(grad);
  }
  if (rebuild) {
    call->relay.put(
        step - 1,
        is_f() ? StreamPair{std::move(addend), std::move(other)}
               : StreamPair{std::move(other), std::move(addend)});
  }
  if (!compat::current_pass_keeps_graph()) {
    replay.reset();
  }
  gradients.insert(gradients.begin(), std::move(grad));
  return gradients;
}

StreamPair StepState::take_pair() {
  auto pair = call->relay.take(step);
  if (!pair[0].defined()) {
    pair = kept;
  }
  TORCH_CHECK_VALUE(
      pair[0].defined(),
      "torchrev::",
      call->entry,
      ": expected the streams after ",
      place(),
      " to be known in backward, but got a pass that starts there after the "
      "graph was freed. Call backward with retain_graph or create_graph.");
  if (!compat::current_pass_keeps_graph()) {
    kept = {};
  } else if (at::GradMode::is_enabled()) {
    kept = pair;
  }
  return pair;
}

void StepState::check_recomputed(
    const Tensor& value, const Tensor& other) const {
  const bool same = value.defined() && value.sizes() == other.sizes() &&
                    value.scalar_type() == branch_dtype &&
                    value.device() == other.device();
  TORCH_CHECK_VALUE(
      same,
      "torchrev::",
      call->entry,
      ": expected the recompute of ",
      place(),
      " to return shape ",
      other.sizes(),
      " and dtype ",
      branch_dtype,
      " as its forward did, but got ",
      value.defined() ? c10::str(value.sizes(), " and ", value.scalar_type())
                      : "an undefined tensor",
      ". A branch is a function of its arguments, parameters and buffers.");
}

struct Step : torch::autograd::Function<Step> {
  static Tensor forward(
      AutogradContext* ctx,
      const Tensor& addend,
      const Tensor& other,
      at::TensorList /*declared*/,
      const c10::intrusive_ptr<StepState>& state,
      bool search) {
    ctx->set_materialize_grads(false);
    auto out = state->forward(addend, other, /*record=*/true, search);
    ctx->save_for_backward(std::exchange(state->context, {}));
    ctx->saved_data["state"] = c10::IValue::make_capsule(state);
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    // Throws if the graph was freed.
    const auto context = ctx->get_saved_variables();
    const auto state = c10::static_intrusive_pointer_cast<StepState>(
        ctx->saved_data["state"].toCapsule());
    auto gradients = state->backward(context, std::move(grads[0]));
    // `state` and `search` are no tensors.
    gradients.resize(state->node->num_outputs() + 2);
    return gradients;
  }
};

}  // namespace

Tensor apply_step(
    const std::shared_ptr<Call>& call,
    const Branch& branch,
    int64_t step,
    const Tensor& addend,
    const Tensor& other,
    at::TensorList context) {
  const auto state =
      c10::make_intrusive<StepState>(call, branch, step, context);
  const auto declared = state->declared();
  const bool grad_mode = at::GradMode::is_enabled();
  const bool tracked =
      grad_mode &&
      (addend.requires_grad() || other.requires_grad() || !declared.empty());
  const bool search = grad_mode && !branch.searched() &&
                      (branch.callable().takes_parameters() || !tracked);
  if (!tracked) {
    at::NoGradGuard no_grad;
    return state->forward(addend, other, /*record=*/false, search);
  }
  auto out =
      Step::apply(addend, other, at::TensorList(declared), state, search);
  state->node = out.grad_fn().get();
  return out;
}

}  // namespace detail
}  // namespace torchrev
