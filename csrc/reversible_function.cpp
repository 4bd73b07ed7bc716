#include "reversible_function.h"

#include <ATen/ExpandUtils.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/sub.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include "check.h"
#include "compat.h"
#include "local_gradient.h"
#include "replay.h"

namespace torchrev {
namespace detail {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Inputs of a step's node, in this order: addend, other, the context tensors
// that require grad, the parameters that require grad.
constexpr std::size_t kAddend = 0;
constexpr std::size_t kOther = 1;
constexpr std::size_t kDeclared = 2;

std::vector<int64_t> dense_strides(const Tensor& x) {
  return x.is_non_overlapping_and_dense()
             ? x.strides().vec()
             : at::infer_dense_strides(x.sizes(), x.strides());
}

// Whether `tensor` is the only handle of a storage of its own size, so that
// its values can be overwritten.
bool is_owned(const Tensor& tensor) {
  return tensor.use_count() == 1 && tensor.storage().use_count() == 1 &&
         tensor.storage().nbytes() == tensor.nbytes() &&
         tensor.storage().resizable();
}

bool can_hold(const Tensor& value, const Tensor& x, at::IntArrayRef strides) {
  return is_owned(value) && value.scalar_type() == x.scalar_type() &&
         value.strides() == strides;
}

// A tensor as it was in forward: backward must find it unchanged.
struct Witness {
  uint32_t version;
  bool requires_grad;

  static std::vector<Witness> of(const std::vector<Tensor>& tensors) {
    std::vector<Witness> witnesses;
    witnesses.reserve(tensors.size());
    for (const auto& tensor : tensors) {
      witnesses.push_back(
          tensor.defined() ? Witness{version_of(tensor), tensor.requires_grad()}
                           : Witness{0, false});
    }
    return witnesses;
  }
};

}  // namespace

Call::Call(
    const char* entry,
    const ReversibleOptions& options,
    const Tensor& x1,
    const Tensor& x2)
    : entry(entry),
      options(options),
      strides({dense_strides(x1), dense_strides(x2)}) {}

uint32_t version_of(const Tensor& tensor) {
  return tensor.is_inference() ? 0 : tensor._version();
}

std::string step_name(int64_t step) {
  return fmt::format("{} of block {}", step % 2 == 0 ? "F" : "G", step / 2);
}

Tensor sum(const Tensor& x, Tensor value, at::IntArrayRef strides) {
  if (can_hold(value, x, strides)) {
    return value.add_(x);
  }
  auto out = at::empty_strided(x.sizes(), strides, x.options());
  return at::add_out(out, x, value);
}

Tensor difference(Tensor x, Tensor value, at::IntArrayRef strides) {
  if (can_hold(x, x, strides)) {
    return x.sub_(value);
  }
  if (can_hold(value, x, strides)) {
    return at::sub_out(value, x, value);
  }
  auto out = at::empty_strided(x.sizes(), strides, x.options());
  return at::sub_out(out, x, value);
}

namespace {

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
        context_witnesses(Witness::of(this->context)),
        parameter_witnesses(Witness::of(parameters)) {}

  std::shared_ptr<Call> call;
  Branch branch;
  int64_t step;
  // Moves to the node's saved variables in forward.
  variable_list context;
  variable_list parameters;
  std::vector<Witness> context_witnesses;
  std::vector<Witness> parameter_witnesses;
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
  StreamPair take_pair();
  void check_unchanged(const variable_list& context) const;
  void check_recomputed(const Tensor& value, const Tensor& other) const;

  bool is_f() const {
    return step % 2 == 0;
  }
  std::string name() const {
    return step_name(step);
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
  auto value = checked_branch(call->entry, step, other, [&] {
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
      call->entry, name(), inputs.other, inputs.context, inputs.parameters);
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
  graph.check(call->entry, name(), value);
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

// Derivation. out = addend + branch(other) gives
//   grad_addend = grad
//   grad_other  = (d branch / d other)^T grad, likewise for what is declared,
// where the gradient of `other` through the rest of the graph is added by the
// engine: `other` is the output of the step before this one.
variable_list StepState::backward(const variable_list& context, Tensor grad) {
  auto pair = take_pair();
  auto out = std::move(pair[is_f() ? 0 : 1]);
  auto other = std::move(pair[is_f() ? 1 : 0]);
  check_unchanged(context);

  const bool differentiate = grad.defined();
  const bool rebuild = node->task_should_compute_output(kOther);
  Tensor addend;
  variable_list gradients;
  if (differentiate || rebuild) {
    LocalGraph graph(/*differentiable=*/at::GradMode::is_enabled());
    Rerun rerun(*replay);
    {
      Tensor value;
      {
        torch::AutoGradMode grad_mode(differentiate);
        const auto inputs = enter(graph, other, context, differentiate);
        value = rerun(inputs.other, inputs.context, inputs.parameters);
      }
      check_recomputed(value, other);
      graph.check(call->entry, name(), value);
      at::NoGradGuard no_grad;
      auto detached = value.detach();
      value.reset();
      if (rebuild) {
        addend =
            difference(std::move(out), std::move(detached), strides_of_out());
      }
      out.reset();
    }
    gradients = graph.backward(grad);
  }
  if (rebuild) {
    call->relay.put(
        step - 1,
        is_f() ? StreamPair{std::move(addend), std::move(other)}
               : StreamPair{std::move(other), std::move(addend)});
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
      name(),
      " to be known in backward, but got a pass that starts there after the "
      "graph was freed. Call backward with retain_graph or create_graph.");
  if (at::GradMode::is_enabled()) {
    kept = pair;
  } else if (!compat::current_pass_keeps_graph()) {
    kept = {};
  }
  return pair;
}

void StepState::check_unchanged(const variable_list& context) const {
  const auto check = [this](
                         const char* what,
                         const variable_list& tensors,
                         const std::vector<Witness>& witnesses) {
    const auto now = Witness::of(tensors);
    for (std::size_t i = 0; i < now.size(); ++i) {
      TORCH_CHECK_VALUE(
          now[i].version == witnesses[i].version,
          "torchrev::",
          call->entry,
          ": expected the ",
          what,
          " of ",
          name(),
          " to be as in forward, but got one of shape ",
          tensors[i].sizes(),
          " that was modified in place. Call backward before the optimiser's "
          "step.");
      TORCH_CHECK_VALUE(
          now[i].requires_grad == witnesses[i].requires_grad,
          "torchrev::",
          call->entry,
          ": expected the ",
          what,
          " of ",
          name(),
          " to be as in forward, but got one of shape ",
          tensors[i].sizes(),
          " whose requires_grad was changed. Change it between steps.");
    }
  };
  check("parameters", parameters, parameter_witnesses);
  check("context", context, context_witnesses);
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
      name(),
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

struct EndState : torch::CustomClassHolder {
  EndState(
      std::shared_ptr<Call> call,
      int64_t steps,
      torch::optional<int64_t> merge_dim)
      : call(std::move(call)), steps(steps), merge_dim(merge_dim) {}

  std::shared_ptr<Call> call;
  int64_t steps;
  torch::optional<int64_t> merge_dim;
};

variable_list halves(const Tensor& y, int64_t dim) {
  const auto size = y.size(dim) / 2;
  return {y.narrow(dim, 0, size), y.narrow(dim, size, size)};
}

// The last streams as their steps saw them. A half of a merged tensor has other
// strides than the stream that was copied into it: views of it can fail in a
// recompute, and dropout, which draws in the order of memory, gives another
// mask. The copies take the place of the merged tensor, which can go.
StreamPair streams_of(const Tensor& y, int64_t dim, const Call& call) {
  StreamPair pair;
  const auto views = halves(y.detach(), dim);
  for (std::size_t i = 0; i < 2; ++i) {
    if (views[i].strides() == at::IntArrayRef(call.strides[i])) {
      pair[i] = views[i];
    } else {
      pair[i] = at::empty_strided(
          views[i].sizes(), call.strides[i], views[i].options());
      pair[i].copy_(views[i]);
    }
  }
  return pair;
}

// The gradient of the merged tensor, if it was merged, is that of its halves.
void split_gradient(
    variable_list& grads, const torch::optional<int64_t>& merge_dim) {
  if (merge_dim) {
    grads =
        grads[0].defined() ? halves(grads[0], *merge_dim) : variable_list(2);
  }
}

struct End : torch::autograd::Function<End> {
  static variable_list forward(
      AutogradContext* ctx,
      const Tensor& y1,
      const Tensor& y2,
      const c10::intrusive_ptr<EndState>& state) {
    ctx->set_materialize_grads(false);
    ctx->saved_data["state"] = c10::IValue::make_capsule(state);
    // tensor_data: neither an input nor a view, so that writing to an output is
    // caught by its version as for any operator.
    const variable_list y =
        state->merge_dim ? variable_list{at::cat({y1, y2}, *state->merge_dim)}
                         : variable_list{y1.tensor_data(), y2.tensor_data()};
    ctx->save_for_backward(y);
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    const auto state = c10::static_intrusive_pointer_cast<EndState>(
        ctx->saved_data["state"].toCapsule());
    const auto y = ctx->get_saved_variables();
    auto& call = *state->call;
    {
      at::NoGradGuard no_grad;
      call.relay.put(
          state->steps - 1,
          state->merge_dim ? streams_of(y[0], *state->merge_dim, call)
                           : StreamPair{y[0].detach(), y[1].detach()});
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

StreamPair apply_end(
    const std::shared_ptr<Call>& call, int64_t steps, const StreamPair& y) {
  if (!requires_grad(y)) {
    return y;
  }
  const auto out = End::apply(
      y[0], y[1], c10::make_intrusive<EndState>(call, steps, torch::nullopt));
  return {out[0], out[1]};
}

Tensor apply_merging_end(
    const std::shared_ptr<Call>& call,
    int64_t steps,
    const StreamPair& y,
    int64_t dim) {
  if (!requires_grad(y)) {
    return at::cat({y[0], y[1]}, dim);
  }
  return End::apply(
      y[0], y[1], c10::make_intrusive<EndState>(call, steps, dim))[0];
}

}  // namespace detail
}  // namespace torchrev
