#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/graph_task.h>

#include "step.h"

namespace torchrev {
namespace detail {

namespace {

// Position of `other` among the inputs of a step's node.
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
// engine: `other` is the output of the step before this one.
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
  gradients.insert(gradients.begin(), std::move(grad));
  return gradients;
}

// In one local graph: for double backward, the chunks are joined in it.
variable_list Step::backward_whole(const Around& around) {
  LocalGraph graph(/*differentiable=*/at::GradMode::is_enabled());
  Reruns reruns;
  const Run run = [&](const Inputs& inputs) {
    return chunks.map(inputs.other, [&](const Tensor& part, std::size_t i) {
      reruns.stack.push_back(std::make_unique<Rerun>(replays[i]));
      return (*reruns.stack.back())(part, inputs.context, inputs.parameters);
    });
  };
  auto value = recompute(
      graph, run, around.other, around.context, around.grad.defined());
  if (around.rebuild) {
    around.stream = difference(
        std::move(around.stream), std::move(value), strides_of_out());
  }
  value.reset();
  if (!around.rebuild) {
    around.stream.reset();
  }
  return graph.backward(around.grad);
}

// Chunk by chunk, so that the activations of one chunk exist at a time.
variable_list Step::backward_in_chunks(const Around& around) {
  const auto out = std::move(around.stream);
  if (around.rebuild) {
    around.stream =
        at::empty_strided(out.sizes(), strides_of_out(), out.options());
  }
  // Of all inputs of the node but the addend.
  variable_list sums(node->num_outputs() - 1);
  for (std::size_t i = 0; i < chunks.count(); ++i) {
    LocalGraph graph(/*differentiable=*/false);
    Rerun rerun(replays[i]);
    const Run run = [&rerun](const Inputs& inputs) {
      return rerun(inputs.other, inputs.context, inputs.parameters);
    };
    auto value = recompute(
        graph,
        run,
        chunks.of(around.other, i),
        around.context,
        around.grad.defined());
    if (around.rebuild) {
      auto part = chunks.of(around.stream, i);
      at::sub_out(part, chunks.of(out, i), value);
    }
    value.reset();
    graph.deliver(
        chunks.of(around.grad, i), [&](std::size_t end, Tensor gradient) {
          add_chunk(sums[end], end, std::move(gradient), around.other, i);
        });
  }
  return sums;
}

// `other`, the first end, gets the gradient of each chunk in its place; what is
// declared, their sum. (A gradient is often a transposed view, which holds its
// base as well: its data alone can be added to in place.)
void Step::add_chunk(
    Tensor& sum,
    std::size_t end,
    Tensor gradient,
    const Tensor& other,
    std::size_t chunk) const {
  if (end == 0) {
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

// The branch's result without its graph, which `graph` holds on to.
Tensor Step::recompute(
    LocalGraph& graph,
    const Run& run,
    const Tensor& other,
    const variable_list& context,
    bool differentiate) const {
  torch::AutoGradMode grad_mode(differentiate);
  auto value = run(enter(graph, other, context, differentiate));
  check_recomputed(value, other);
  graph.check(place(), value);
  return value.detach();
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

}  // namespace detail
}  // namespace torchrev
