#include "measure/measure_step.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <memory>

#include "check.h"
#include "measure/byte_meter.h"
#include "stack/checked_run.h"

namespace torchrev {
namespace detail {

namespace {

// As a user does: outside autocast.
void back_propagate(
    LocalGraph& graph, const char* entry, const variable_list& y) {
  at::autocast::clear_cache();
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(
      c10::autocast_dispatch_keyset);
  variable_list grads;
  for (const auto& tensor : y) {
    graph.check({entry, torch::nullopt, "the blocks"}, tensor);
    grads.push_back(tensor.requires_grad() ? at::zeros_like(tensor) : Tensor());
  }
  graph.deliver(grads);
}

void check_reported(
    const char* entry, const ByteMeter& meter, const Tensor& y) {
  TORCHREV_CHECK(
      ValueError,
      meter.peak() > 0 || y.nbytes() == 0,
      entry,
      c10::str("the allocator of ", y.device(), " to report what it allocates"),
      "one that does not",
      "Have it call c10::reportMemoryUsageToProfiler, or choose `store_last` "
      "instead of a budget.");
}

}  // namespace

StepBytes measure_step(const StackRun& measured) {
  const auto* const entry = measured.stack.entry;
  const auto meter = std::make_shared<ByteMeter>(measured.x[0].device());
  IsolatedRun isolated(measured);
  const Metering metering(meter);
  const auto y = run(isolated.run());
  check_reported(entry, *meter, y[0]);
  const auto retained = meter->live();
  back_propagate(isolated.graph(), entry, y);
  return {retained, meter->peak()};
}

std::vector<StepBytes> measure_blocks(const StackRun& measured) {
  const UntracedStack untraced(measured);
  auto block = measured;
  if (block.x.size() == 1) {
    const auto x = split(block.x[0], block.stack.options.streams());
    block.x = {x[0], x[1]};
  }
  block.stack.options.store_last(1);
  std::vector<StepBytes> blocks;
  for (int64_t i = 0; i < measured.stack.depth(); ++i) {
    block.stack.blocks = measured.stack.blocks.slice(i, 1);
    blocks.push_back(measure_step(block));
    const at::NoGradGuard no_grad;
    block.x = run(block);
  }
  return blocks;
}

}  // namespace detail
}  // namespace torchrev
