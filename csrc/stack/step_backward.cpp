#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/graph_task.h>

#include <utility>

#include "stack/part_backward.h"
#include "stack/step.h"
#include "stack/step_order.h"
#include "streams/in_place.h"
#include "tensors.h"

namespace torchrev {
namespace detail {

namespace {

// In one local graph: for double backward, the chunks are joined in it.
// `stream` is `out` before and the addend after, if that is rebuilt.
StepGradients backward_whole(
    const Step& step,
    const PartBackward::Wanted& wanted,
    Tensor& stream,
    const Tensor& other,
    const Tensor& grad) {
  PartBackward part(
      step,
      wanted,
      {std::move(stream), other, step.segment->strides_of(step.id.role)},
      [&](LocalGraph& graph, const Tensor& x) {
        return step.recorded.recompute(
            graph, x, wanted.context, wanted.inputs.declared);
      });
  stream = std::move(part.addend);
  part.graph.backward(part.gradient_of_root(step, grad));
  StepGradients gradients;
  if (part.coupled) {
    gradients.addend = part.graph.gradient(*part.coupled);
  }
  gradients.other = part.graph.gradient(part.other);
  gradients.declared.reserve(part.branch.declared.size());
  for (const auto handle : part.branch.declared) {
    gradients.declared.push_back(part.graph.gradient(handle));
  }
  return gradients;
}

// sum + gradient. A gradient is often a transposed view, which holds its base
// as well: its data alone can be added to in place.
void add_to(Tensor& sum, const Tensor& gradient) {
  if (!sum.defined()) {
    sum = gradient.tensor_data();
    return;
  }
  const bool in_place = sum.layout() == at::kStrided &&
                        gradient.layout() == at::kStrided && is_owned(sum);
  sum = in_place ? sum.add_(gradient) : sum + gradient;
}

// Lets the gradients of chunk `i` arrive in `sums`: those of `other` and of the
// addend in the place of the chunk, those of what is declared as a sum.
void receive(
    PartBackward& part,
    StepGradients& sums,
    const Chunks& chunks,
    std::size_t i,
    const Tensor& like) {
  const auto in_its_place = [&chunks, i, &like](Tensor& whole) {
    return [&chunks, i, &like, &whole](const Tensor& gradient) {
      if (!whole.defined()) {
        whole = at::zeros_like(like);
      }
      chunks.of(whole, i).copy_(gradient);
    };
  };
  part.graph.receive(part.other, in_its_place(sums.other));
  if (part.coupled) {
    part.graph.receive(*part.coupled, in_its_place(sums.addend));
  }
  auto sum = sums.declared.begin();
  for (const auto handle : part.branch.declared) {
    part.graph.receive(handle, [&sum = *sum++](const Tensor& gradient) {
      add_to(sum, gradient);
    });
  }
}

// Chunk by chunk, so that the activations of one chunk exist at a time.
StepGradients backward_in_chunks(
    const Step& step,
    const PartBackward::Wanted& wanted,
    Tensor& stream,
    const Tensor& other,
    const Tensor& grad) {
  const auto& chunks = step.recorded.chunks();
  const auto strides = step.segment->strides_of(step.id.role);
  const auto out = std::exchange(stream, Tensor());
  if (wanted.rebuild) {
    // A chunk of `out` is read before its addend is written, so that one
    // storage does for both where nobody else holds it.
    stream = is_reusable(out, strides)
                 ? out
                 : at::empty_strided(out.sizes(), strides, out.options());
  }
  StepGradients sums;
  sums.declared.resize(wanted.inputs.declared.size());
  for (std::size_t i = 0; i < chunks.count(); ++i) {
    const auto out_part = chunks.of(out, i);
    const auto other_part = chunks.of(other, i);
    PartBackward part(
        step,
        wanted,
        {out_part, other_part, layout_of(out_part)},
        [&](LocalGraph& graph, const Tensor& x) {
          return step.recorded.recompute_chunk(
              graph, i, x, wanted.context, wanted.inputs.declared);
        });
    if (wanted.rebuild) {
      chunks.of(stream, i).copy_(part.addend);
    }
    receive(part, sums, chunks, i, other);
    part.graph.deliver(part.gradient_of_root(step, chunks.of(grad, i)));
  }
  return sums;
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
  // A second backward may start at any step, where no pass leaves a pair.
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
  const bool rebuild = rebuilds();
  StepGradients gradients;
  if (grad.defined() || rebuild) {
    const StepInputs inputs(*this, grad.defined());
    const auto backward =
        recorded.chunks().count() == 1 || at::GradMode::is_enabled()
            ? &backward_whole
            : &backward_in_chunks;
    gradients = backward(
        *this,
        {context, inputs, rebuild, grad.defined()},
        pair.changed_by(id.role),
        pair.read_by(id.role),
        grad);
  }
  if (rebuild) {
    segment->relay.put(step_before(id, segment->direction), std::move(pair));
  }
  // Records hold snapshots of buffers and generators, which have to go with the
  // graph although LibTorch frees saved variables only.
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
