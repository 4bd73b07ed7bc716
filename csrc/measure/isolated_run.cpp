#include "measure/isolated_run.h"

#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/variable.h>

#include "stack/checked_run.h"

namespace torchrev {
namespace detail {

variable_list run(const StackRun& run) {
  if (run.x.size() == 1) {
    return {checked_residual(run.stack, run.x[0])};
  }
  auto y = checked_run(run.stack, run.x[0], run.x[1]);
  return {std::move(y[0]), std::move(y[1])};
}

IsolatedRun::EmptyAutocastCache::EmptyAutocastCache() {
  at::autocast::clear_cache();
}

IsolatedRun::EmptyAutocastCache::~EmptyAutocastCache() {
  at::autocast::clear_cache();
}

UntracedStack::UntracedStack(const StackRun& run) {
  for (const auto& block : run.stack.blocks) {
    for (const auto* branch : {&block.f, &block.g}) {
      no_traces_.push_back(std::make_unique<NoTrace>(*branch, run.x[0]));
    }
  }
}

IsolatedRun::IsolatedRun(const StackRun& run)
    : untraced_(run), graph_(/*differentiable=*/false), run_(run) {
  // Inputs first, then context, then parameters: aliases are leaves of a graph
  // of our own, so that backward ends there.
  for (auto& tensor : run_.x) {
    tensor = alias(tensor);
  }
  for (const auto& tensor : run.stack.context) {
    context_.push_back(alias(tensor));
  }
  run_.stack.context = context_;
  for (const auto& block : run.stack.blocks) {
    parameters_.emplace_back();
    for (const auto* branch : {&block.f, &block.g}) {
      for (const auto& parameter : branch->parameters()) {
        if (parameter.requires_grad()) {
          parameters_.back().push_back(
              graph_.declare(parameter, /*wanted=*/true));
        }
      }
    }
  }
}

Tensor IsolatedRun::alias(const Tensor& tensor) {
  if (!tensor.defined()) {
    return tensor;
  }
  auto& alias = aliases_[tensor.unsafeGetTensorImpl()];
  if (!alias.defined()) {
    const auto outer = tensor.requires_grad()
                           ? torch::autograd::impl::gradient_edge(tensor)
                           : Edge();
    alias = graph_.enter(tensor, {outer, /*wanted=*/true}).alias;
  }
  return alias;
}

}  // namespace detail
}  // namespace torchrev
