#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/graph_task.h>

#include <utility>

#include "branch/in_branch.h"
#include "stack/inner_pass.h"
#include "stack/part_backward.h"
#include "stack/step.h"
#include "streams/in_place.h"
#include "tensors.h"

namespace torchrev {
namespace detail {

namespace {

PartBackward whole(
    const Step& step,
    const PartBackward::Wanted& wanted,
    Tensor out,
    const Tensor& other) {
  return {
      step,
      wanted,
      {std::move(out), other, step.segment->strides_of(step.id.role)},
      [&](LocalGraph& graph, const Tensor& x) {
        return step.recorded.recompute(
            graph, x, wanted.context, wanted.inputs.declared);
      }};
}

PartBackward chunk(
    const Step& step,
    const PartBackward::Wanted& wanted,
    std::size_t i,
    const Tensor& out,
    const Tensor& other) {
  const auto& chunks = step.recorded.chunks();
  const auto part = chunks.of(out, i);
  return {
      step,
      wanted,
      {part, chunks.of(other, i), layout_of(part)},
      [&](LocalGraph& graph, const Tensor& x) {
        return step.recorded.recompute_chunk(
            graph, i, x, wanted.context, wanted.inputs.declared);
      }};
}

// In one local graph: for double backward, the chunks are joined in it.
// `stream` is `out` before and the addend after, if that is rebuilt.
StepGradients backward_whole(
    const Step& step,
    const PartBackward::Wanted& wanted,
    Tensor& stream,
    const Tensor& other,
    const Tensor& grad) {
  auto part = whole(step, wanted, std::move(stream), other);
  stream = std::move(part.addend);
  naming(step.place(), [&] {
    part.graph.backward(part.gradient_of_root(step, grad));
  });
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

// For the addend of `out`, chunk by chunk: a chunk of `out` is read before its
// addend is written, so that one storage does for both where nobody else holds
// it.
Tensor place_for_addend(const Step& step, const Tensor& out) {
  const auto strides = step.segment->strides_of(step.id.role);
  return is_reusable(out, strides)
             ? out
             : at::empty_strided(out.sizes(), strides, out.options());
}

// Chunk by chunk, so that the activations of one chunk exist at a time.
StepGradients backward_in_chunks(
    const Step& step,
    const PartBackward::Wanted& wanted,
    Tensor& stream,
    const Tensor& other,
    const Tensor& grad) {
  const auto& chunks = step.recorded.chunks();
  const auto out = std::exchange(stream, Tensor());
  if (wanted.rebuild) {
    stream = place_for_addend(step, out);
  }
  StepGradients sums;
  sums.declared.resize(wanted.inputs.declared.size());
  for (std::size_t i = 0; i < chunks.count(); ++i) {
    auto part = chunk(step, wanted, i, out, other);
    if (wanted.rebuild) {
      chunks.of(stream, i).copy_(part.addend);
    }
    receive(part, sums, chunks, i, other);
    naming(step.place(), [&] {
      part.graph.deliver(part.gradient_of_root(step, chunks.of(grad, i)));
    });
  }
  return sums;
}

}  // namespace

StreamPair Step::undo(const variable_list& tensors, StreamPair pair) const {
  const at::NoGradGuard no_grad;
  recorded.check_unchanged(tensors);
  StepInputs nothing;
  nothing.other.requires_grad = reads_tracked;
  const PartBackward::Wanted wanted{
      tensors, nothing, /*rebuild=*/true, /*differentiate=*/false};
  auto& stream = pair.changed_by(id.role);
  const auto& other = pair.read_by(id.role);
  const auto& chunks = recorded.chunks();
  if (chunks.count() == 1) {
    stream = whole(*this, wanted, std::move(stream), other).addend;
    return pair;
  }
  const auto out = std::exchange(stream, Tensor());
  stream = place_for_addend(*this, out);
  for (std::size_t i = 0; i < chunks.count(); ++i) {
    chunks.of(stream, i).copy_(chunk(*this, wanted, i, out, other).addend);
  }
  return pair;
}

variable_list Step::backward(Tensor grad) {
  // As get_saved_variables() says it of a node that has saved something.
  TORCH_CHECK(!freed, torch::autograd::ERR_BACKWARD_TWICE);
  const auto tensors = saved_context();
  auto pair = take_pair(*this);
  const auto device = pair[0].device();
  recorded.check_unchanged(tensors);
  const auto use = use_of_pair_before(*this);
  const bool rebuild = use != PairBefore::kNotNeeded;
  StepGradients gradients;
  if (grad.defined()) {
    const StepInputs inputs(*this);
    const auto backward =
        recorded.chunks().count() == 1 || at::GradMode::is_enabled()
            ? &backward_whole
            : &backward_in_chunks;
    gradients = backward(
        *this,
        {tensors, inputs, rebuild, /*differentiate=*/true},
        pair.changed_by(id.role),
        pair.read_by(id.role),
        grad);
  } else if (rebuild) {
    pair = undo(tensors, std::move(pair));
  }
  leave_pair(*this, use, std::move(pair));
  segment->relay.note_work(device);
  // Records hold snapshots of buffers and generators, which have to go with the
  // graph although LibTorch frees saved variables only.
  if (!torch::autograd::get_current_graph_task_keep_graph()) {
    forget();
  }
  if (segment->arithmetic.is_additive()) {
    gradients.addend = std::move(grad);
  }
  return std::move(gradients).in_order();
}

}  // namespace detail
}  // namespace torchrev
