#include "stack/inner_pass.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/graph_task.h>

#include <utility>

#include "stack/step_order.h"

namespace torchrev {
namespace detail {

namespace {

using Lock = std::lock_guard<std::mutex>;

bool keeps_graph() {
  return torch::autograd::get_current_graph_task_keep_graph();
}

void check_known(const Step& step, bool known) {
  TORCHREV_CHECK(
      ValueError,
      known,
      step.segment->entry,
      c10::str("the streams after ", step.place(), " to be known in backward"),
      "a pass that starts there after the graph was freed",
      "Call backward with retain_graph or create_graph.");
}

void keep(Step& step, const StreamPair& pair) {
  HandedPair kept(pair);
  const Lock lock(step.segment->mutex);
  if (!step.freed) {
    step.kept = std::move(kept);
  }
}

// The step that ran before, if it has a node in this segment.
Step* previous(const Step& step) {
  return step.index == 0 ? nullptr : step.segment->steps[step.index - 1].get();
}

// The nearest known pair after `step`, and the index of the step that it comes
// after.
std::pair<StreamPair, std::size_t> known_pair(const Step& step) {
  auto& segment = *step.segment;
  {
    const Lock lock(segment.mutex);
    for (auto i = step.index; i < segment.steps.size(); ++i) {
      if (segment.steps[i]->kept.defined()) {
        return {segment.steps[i]->kept.received(), i};
      }
    }
  }
  check_known(step, segment.saved.known());
  return {segment.saved.streams(segment), segment.steps.size() - 1};
}

StreamPair rebuilt_pair(const Step& step) {
  const at::NoGradGuard no_grad;
  auto [pair, i] = known_pair(step);
  for (; i > step.index; --i) {
    const auto& after = *step.segment->steps[i];
    check_known(step, !after.freed);
    pair = after.undo(after.saved_context(), std::move(pair));
    keep(*previous(after), pair);
  }
  return pair;
}

}  // namespace

StreamPair take_pair(Step& step) {
  auto pair = step.segment->relay.take(step.id);
  if (!pair.defined()) {
    pair = rebuilt_pair(step);
  }
  const Lock lock(step.segment->mutex);
  if (!keeps_graph()) {
    step.kept = {};
  } else if (at::GradMode::is_enabled()) {
    step.kept = HandedPair(pair);
  }
  return pair;
}

PairBefore use_of_pair_before(const Step& step) {
  const bool wanted = step.rebuilds();
  const auto* before = previous(step);
  if (keeps_graph() || !before || (wanted && step.step_before_runs())) {
    return wanted ? PairBefore::kToRelay : PairBefore::kNotNeeded;
  }
  // Where a gradient of the streams is asked for, the pair is rebuilt in any
  // case. Else it is rebuilt only if later passes can be expected to work: the
  // end of the segment was not freed, so this pass came from an inner step.
  const Lock lock(step.segment->mutex);
  const bool needed = !before->freed && !before->kept.defined();
  return needed && (wanted || step.segment->saved.known())
             ? PairBefore::kToKeep
             : PairBefore::kNotNeeded;
}

void leave_pair(const Step& step, PairBefore use, StreamPair pair) {
  switch (use) {
    case PairBefore::kToRelay:
      step.segment->relay.put(
          step_before(step.id, step.segment->direction), std::move(pair));
      return;
    case PairBefore::kToKeep:
      keep(*previous(step), pair);
      return;
    default:
      return;
  }
}

}  // namespace detail
}  // namespace torchrev
