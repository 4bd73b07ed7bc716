#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/graph_task.h>

#include <algorithm>

#include "in_place.h"
#include "step.h"

namespace torchrev {
namespace detail {

namespace {

// Positions among the inputs of a step's node.
constexpr std::size_t kAddend = 0;
constexpr std::size_t kOther = 1;

// Each puts back what it found, so the last one goes first.
struct Reruns {
  std::vector<std::unique_ptr<Rerun>> stack;
  ~Reruns() {
    while (!stack.empty()) {
      stack.pop_back();
    }
  }
};

}  // namespace

// Derivation. out = addend + branch(other) gives
//   grad_addend = grad
//   grad_other  = (d branch / d other)^T grad, likewise for what is declared,
// where the gradient of `other` through the rest of the graph is added by the
// engine: `other` is the output of the step before this one. With another
// coupling autograd gives both, from out = coupling(addend, branch(other)).
variable_list Step::backward(const variable_list& context, Tensor grad) {
  auto pair = take_pair();
  auto stream = std::move(pair[is_f() ? 0 : 1]);
  auto other = std::move(pair[is_f() ? 1 : 0]);
  context_witness.check(place(), "context", context);
  parameter_witness.check(place(), "parameters", parameters);

  const bool rebuild = node->task_should_compute_output(kOther);
  variable_list gradients;
  if (grad.defined() || rebuild) {
    const Around around{context, other, stream, rebuild, grad};
    gradients = chunks.count() == 1 || at::GradMode::is_enabled()
                    ? backward_whole(around)
                    : backward_in_chunks(around);
  }
  if (rebuild) {
    call->relay.put(
        index - 1,
        is_f() ? StreamPair{std::move(stream), std::move(other)}
               : StreamPair{std::move(other), std::move(stream)});
  }
  if (!torch::autograd::get_current_graph_task_keep_graph()) {
    replays.clear();
  }
  if (call->arithmetic.is_additive() || !grad.defined()) {
    gradients.insert(gradients.begin(), std::move(grad));
  } else {
    // The addend was entered last; it is the node's first input.
    std::rotate(gradients.begin(), gradients.end() - 1, gradients.end());
  }
  return gradients;
}

// In one local graph: for double backward, the chunks are joined in it.
variable_list Step::backward_whole(const Around& around) {
  LocalGraph graph(/*differentiable=*/at::GradMode::is_enabled());
  Reruns reruns;
  const Run run = [&](const Inputs& inputs) {
    return chunks.map(inputs.other, [&](const Tensor& part, std::size_t i) {
      reruns.stack.push_back(std::make_unique<Rerun>(replays[i]));
      return (*reruns.stack.back())(
          call->arithmetic.leave(part), inputs.context, inputs.parameters);
    });
  };
  around.stream = recompute(
      graph,
      run,
      around,
      std::move(around.stream),
      around.other,
      strides_of_out());
  return graph.backward(around.grad);
}

// Chunk by chunk, so that the activations of one chunk exist at a time.
variable_list Step::backward_in_chunks(const Around& around) {
  const auto out = std::move(around.stream);
  if (around.rebuild) {
    around.stream =
        is_reusable(out, strides_of_out())
            ? out
            : at::empty_strided(out.sizes(), strides_of_out(), out.options());
  }
  // Of the ends of the local graphs.
  variable_list sums(
      node->num_outputs() - (call->arithmetic.is_additive() ? 1 : 0));
  for (std::size_t i = 0; i < chunks.count(); ++i) {
    LocalGraph graph(/*differentiable=*/false);
    Rerun rerun(replays[i]);
    const Run run = [&](const Inputs& inputs) {
      return rerun(
          call->arithmetic.leave(inputs.other),
          inputs.context,
          inputs.parameters);
    };
    const auto part = chunks.of(out, i);
    const auto addend = recompute(
        graph, run, around, part, chunks.of(around.other, i), layout_of(part));
    if (around.rebuild) {
      chunks.of(around.stream, i).copy_(addend);
    }
    graph.deliver(
        chunks.of(around.grad, i), [&](std::size_t end, Tensor gradient) {
          add_chunk(sums[end], end, std::move(gradient), around.other, i);
        });
  }
  return sums;
}

// `other`, the first end, gets the gradient of each chunk in its place, and so
// does the addend, if it is an end, after all inputs but itself; what is
// declared gets the sum. (A gradient is often a transposed view, which holds
// its base as well: its data alone can be added to in place.)
void Step::add_chunk(
    Tensor& sum,
    std::size_t end,
    Tensor gradient,
    const Tensor& other,
    std::size_t chunk) const {
  if (end == 0 || end == node->num_outputs() - 1) {
    if (!sum.defined()) {
      sum = at::zeros_like(other);
    }
    chunks.of(sum, chunk).copy_(gradient);
  } else {
    sum = sum.defined() ? accumulate(std::move(sum), gradient)
                        : gradient.tensor_data();
  }
}

Step::Inputs Step::enter(
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

// Runs the branch in `graph`, and takes its value off `out`: returns the addend
// if that is to be rebuilt or differentiated.
Tensor Step::recompute(
    LocalGraph& graph,
    const Run& run,
    const Around& around,
    Tensor out,
    const Tensor& other,
    at::IntArrayRef strides) const {
  const bool differentiate = around.grad.defined();
  const auto& arithmetic = call->arithmetic;
  const torch::AutoGradMode grad_mode(differentiate);
  auto value = run(enter(graph, other, around.context, differentiate));
  check_recomputed(value, other);
  const auto separate = [&](Tensor value) {
    const at::NoGradGuard no_grad;
    return arithmetic.separate(
        place(), std::move(out), std::move(value), strides);
  };
  if (arithmetic.is_additive() || !differentiate) {
    graph.check(place(), value);
    value = value.detach();
    return around.rebuild ? separate(std::move(value)) : Tensor();
  }
  const auto addend = separate(value.detach());
  const auto alias = graph.enter(
      addend,
      node->next_edge(kAddend),
      node->task_should_compute_output(kAddend));
  graph.check(place(), arithmetic.couple(place(), alias, value));
  return addend;
}

StreamPair Step::take_pair() {
  auto pair = call->relay.take(index);
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
  if (!torch::autograd::get_current_graph_task_keep_graph()) {
    kept = {};
  } else if (at::GradMode::is_enabled()) {
    kept = pair;
  }
  return pair;
}

void Step::check_recomputed(const Tensor& value, const Tensor& other) const {
  const auto sizes = call->arithmetic.value_sizes(other.sizes());
  const bool same = value.defined() && value.sizes() == sizes &&
                    value.scalar_type() == branch_dtype &&
                    value.device() == other.device();
  TORCH_CHECK_VALUE(
      same,
      "torchrev::",
      call->entry,
      ": expected the recompute of ",
      place(),
      " to return shape ",
      at::IntArrayRef(sizes),
      " and dtype ",
      branch_dtype,
      " as its forward did, but got ",
      value.defined() ? c10::str(value.sizes(), " and ", value.scalar_type())
                      : "an undefined tensor",
      ". A branch is a function of its arguments, parameters and buffers.");
}

}  // namespace detail
}  // namespace torchrev
