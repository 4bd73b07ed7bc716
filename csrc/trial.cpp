#include "trial.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros_like.h>
#include <ATen/record_function.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/variable.h>
#include <torchrev/reversible.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <unordered_map>

#include "local_gradient.h"
#include "replay.h"

namespace torchrev {
namespace detail {

namespace {

constexpr auto kEntry = "nn::ReversibleSequential";

template <typename T>
T total_of(
    void (c10::MemoryReportingInfoBase::*)(void*, int64_t, T, T, c10::Device));
// int64_t or size_t, depending on the release.
using Total =
    decltype(total_of(&c10::MemoryReportingInfoBase::reportMemoryUsage));

// Counts what allocators report while it is the debug info of a thread; the
// engine hands it on to the threads in which backward runs.
class Meter final : public c10::MemoryReportingInfoBase {
 public:
  explicit Meter(c10::Device device) : device_(device) {}

  void reportMemoryUsage(
      void* /*data*/,
      int64_t bytes,
      Total /*allocated*/,
      Total /*reserved*/,
      c10::Device device) override {
    if (device != device_) {
      return;
    }
    const auto now = live_ += bytes;
    auto peak = peak_.load();
    while (now > peak && !peak_.compare_exchange_weak(peak, now)) {
    }
  }
  bool memoryProfilingEnabled() const override {
    return true;
  }

  int64_t live() const {
    return live_;
  }
  int64_t peak() const {
    return peak_;
  }

 private:
  c10::Device device_;
  std::atomic<int64_t> live_{0};
  std::atomic<int64_t> peak_{0};
};

// While it lives, allocations are reported to `meter` and operators to nobody:
// a profiler would take the meter for itself.
class Metering {
 public:
  explicit Metering(std::shared_ptr<Meter> meter)
      : reports_(c10::DebugInfoKind::PROFILER_STATE, std::move(meter)) {}

 private:
  at::DisableRecordFunctionGuard no_profiler_;
  c10::DebugInfoGuard reports_;
};

// While it lives, runs of the call leave no trace.
class Trial {
 public:
  explicit Trial(const StackCall& call) {
    for (const auto& block : call.blocks) {
      for (const auto* branch : {&block.f, &block.g}) {
        guards_.push_back(std::make_unique<Unobserved>(*branch, call.x[0]));
      }
    }
  }

 private:
  TrialScope scope_;
  std::vector<std::unique_ptr<Unobserved>> guards_;
};

// y, or {y1, y2}.
variable_list run(const StackCall& call) {
  if (call.x.size() == 1) {
    return {reversible_residual(
        call.blocks, call.x[0], call.context, call.options)};
  }
  auto [y1, y2] = reversible_sequence(
      call.blocks, call.x[0], call.x[1], call.context, call.options);
  return {std::move(y1), std::move(y2)};
}

// `call` over aliases of its tensors that lead nowhere.
struct Isolated {
  Isolated(LocalGraph& graph, const StackCall& call) : call(call) {
    for (auto& tensor : this->call.x) {
      tensor = alias(graph, tensor);
    }
    for (const auto& tensor : call.context) {
      context_.push_back(alias(graph, tensor));
    }
    this->call.context = context_;
    for (const auto& block : call.blocks) {
      declare(graph, block.f);
      declare(graph, block.g);
    }
  }

  StackCall call;

 private:
  // One alias of each tensor, since gradients of one are added up.
  Tensor alias(LocalGraph& graph, const Tensor& tensor) {
    if (!tensor.defined()) {
      return tensor;
    }
    auto& alias = aliases_[tensor.unsafeGetTensorImpl()];
    if (!alias.defined()) {
      const auto outer = tensor.requires_grad()
                             ? torch::autograd::impl::gradient_edge(tensor)
                             : Edge();
      alias = graph.enter(tensor, outer, /*wanted=*/true);
    }
    return alias;
  }

  static void declare(LocalGraph& graph, const Branch& branch) {
    for (const auto& parameter : branch.parameters()) {
      if (parameter.requires_grad()) {
        graph.declare(parameter, /*wanted=*/true);
      }
    }
  }

  std::unordered_map<const void*, Tensor> aliases_;
  variable_list context_;
};

// Casts that autocast holds on to belong to the step that made them.
struct EmptyAutocastCache {
  EmptyAutocastCache() {
    at::autocast::clear_cache();
  }
  ~EmptyAutocastCache() {
    at::autocast::clear_cache();
  }
};

// As a user does: outside autocast.
void back_propagate(LocalGraph& graph, const variable_list& y) {
  at::autocast::clear_cache();
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(
      c10::autocast_dispatch_keyset);
  variable_list grads;
  for (const auto& tensor : y) {
    graph.check({kEntry, 0}, tensor);
    grads.push_back(tensor.requires_grad() ? at::zeros_like(tensor) : Tensor());
  }
  graph.deliver(grads, [](std::size_t /*end*/, const Tensor& /*dropped*/) {});
}

void check_reported(const Meter& meter, const Tensor& y) {
  TORCH_CHECK_VALUE(
      meter.peak() > 0 || y.nbytes() == 0,
      "torchrev::",
      kEntry,
      ": expected the allocator of ",
      y.device(),
      " to report what it allocates, but got one that does not. Have it call "
      "c10::reportMemoryUsageToProfiler, or choose `store_last` instead of a "
      "budget.");
}

// 1, 2, ..., 7, 1, 2, ...: another number for each element and its neighbours.
Tensor weights_for(const Tensor& y) {
  return at::arange(y.numel(), y.options().dtype(at::kLong))
      .remainder_(7)
      .add_(1)
      .to(y.scalar_type())
      .view(y.sizes());
}

int64_t trained_parameters(const BranchPair& block) {
  int64_t count = 0;
  for (const auto* branch : {&block.f, &block.g}) {
    for (const auto& parameter : branch->parameters()) {
      count += parameter.requires_grad();
    }
  }
  return count;
}

}  // namespace

variable_list streams_of(const StackCall& call) {
  if (call.x.size() == 2) {
    return call.x;
  }
  const auto& x = call.x[0];
  const auto streams = call.options.streams();
  switch (streams.kind) {
    case Streams::Kind::kDuplicate:
      return {x, x};
    case Streams::Kind::kVelocity:
      return {at::zeros_like(x.detach()), x};
    default:
      return x.chunk(2, streams.dim);
  }
}

std::vector<variable_list> gradients_of_blocks(
    const StackCall& call, const Run& run) {
  const Trial trial(call);
  const torch::AutoGradMode grad_mode(true);
  const EmptyAutocastCache no_casts;
  LocalGraph graph(/*differentiable=*/false);
  const Isolated isolated(graph, call);
  variable_list weights;
  for (const auto& y : run(isolated.call)) {
    graph.check({"drift", 0}, y);
    weights.push_back(weights_for(y));
  }
  const auto gradients = graph.backward(weights);
  std::vector<variable_list> blocks;
  // Parameters were declared last.
  auto end = gradients.end();
  for (auto block = call.blocks.rbegin(); block != call.blocks.rend();
       ++block) {
    const auto begin = end - trained_parameters(*block);
    blocks.emplace_back(begin, end);
    end = begin;
  }
  std::reverse(blocks.begin(), blocks.end());
  return blocks;
}

StepBytes measure_step(const StackCall& call) {
  const Trial trial(call);
  const auto meter = std::make_shared<Meter>(call.x[0].device());
  const Metering metering(meter);
  const EmptyAutocastCache no_casts;
  LocalGraph graph(/*differentiable=*/false);
  const Isolated isolated(graph, call);
  const auto y = run(isolated.call);
  check_reported(*meter, y[0]);
  const auto retained = meter->live();
  back_propagate(graph, y);
  return {retained, meter->peak()};
}

std::vector<StepBytes> measure_blocks(const StackCall& call) {
  const Trial trial(call);
  std::vector<StepBytes> blocks;
  auto block = call;
  block.x = streams_of(call);
  block.options.store_last(1);
  for (std::size_t i = 0; i < call.blocks.size(); ++i) {
    block.blocks = call.blocks.slice(i, 1);
    blocks.push_back(measure_step(block));
    at::NoGradGuard no_grad;
    block.x = run(block);
  }
  return blocks;
}

}  // namespace detail
}  // namespace torchrev
