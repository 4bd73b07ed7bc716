#include "measure/drift.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <map>

#include "check.h"
#include "guards/stream_observer.h"
#include "measure/isolated_run.h"
#include "options.h"

namespace torchrev {
namespace detail {

namespace {

// |found - expected| / |expected| of all pairs together; an undefined gradient
// is zero.
template <typename Tensors>
double relative_error(const Tensors& found, const Tensors& expected) {
  double difference = 0;
  double scale = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (!found[i].defined() && !expected[i].defined()) {
      continue;
    }
    const auto wide = [](const Tensor& x, const Tensor& like) {
      return (x.defined() ? x : at::zeros_like(like)).to(at::kDouble);
    };
    const auto a = wide(found[i], expected[i]);
    const auto b = wide(expected[i], found[i]);
    difference += (a - b).square().sum().template item<double>();
    scale += b.square().sum().template item<double>();
  }
  return difference == 0 ? 0 : std::sqrt(difference / scale);
}

// Keeps the streams before each block, and compares.
class Recorder final : public StreamObserver {
 public:
  explicit Recorder(std::size_t depth) : errors_(depth) {}

  void in_forward(int64_t block, const StreamPair& pair) override {
    const at::NoGradGuard no_grad;
    originals_[block] = {pair[0].clone(), pair[1].clone()};
  }
  void rebuilt(int64_t block, const StreamPair& pair) override {
    const auto original = originals_.find(block);
    if (original != originals_.end()) {
      const at::NoGradGuard no_grad;
      errors_[block] = relative_error(pair, original->second);
    }
  }
  const std::vector<double>& errors() const {
    return errors_;
  }

 private:
  std::map<int64_t, StreamPair> originals_;
  std::vector<double> errors_;
};

// 1, 2, ..., 7, 1, 2, ...: another number for each element and its neighbours.
Tensor weights_for(const Tensor& y) {
  return at::arange(y.numel(), y.options().dtype(at::kLong))
      .remainder_(7)
      .add_(1)
      .to(y.scalar_type())
      .view(y.sizes());
}

// The gradients of the results of `run`, weighted by fixed numbers, for the
// parameters that require grad, block by block. Leaves no trace.
std::vector<variable_list> gradients_of_blocks(const StackRun& measured) {
  const torch::AutoGradMode grad_mode(true);
  IsolatedRun isolated(measured);
  auto& graph = isolated.graph();
  variable_list weights;
  for (const auto& y : run(isolated.run())) {
    graph.check({measured.stack.entry, torch::nullopt, "the blocks"}, y);
    weights.push_back(weights_for(y));
  }
  graph.backward(weights);
  std::vector<variable_list> blocks;
  for (const auto& parameters : isolated.parameters()) {
    blocks.emplace_back();
    for (const auto handle : parameters) {
      blocks.back().push_back(graph.gradient(handle));
    }
  }
  return blocks;
}

}  // namespace

std::vector<BlockDrift> measure_drift(
    const Stack& stack, const Tensor& x1, const Tensor& x2) {
  check_blocks(stack.entry, stack.blocks.size());
  check_options(stack.entry, stack.options);
  check_streams(stack.entry, "x1", x1, "x2", x2);
  const auto recorder = std::make_shared<Recorder>(stack.blocks.size());
  // Inputs that require grad, so that the streams before block 0 are rebuilt.
  StackRun measured{
      stack, {x1.detach().requires_grad_(), x2.detach().requires_grad_()}};
  measured.stack.observer = recorder;
  const auto found = gradients_of_blocks(measured);
  measured.stack.observer = nullptr;
  measured.stack.options.store_last(stack.depth());
  const auto expected = gradients_of_blocks(measured);
  std::vector<BlockDrift> drifts;
  for (std::size_t i = 0; i < stack.blocks.size(); ++i) {
    drifts.push_back(
        {recorder->errors()[i], relative_error(found[i], expected[i])});
  }
  return drifts;
}

}  // namespace detail
}  // namespace torchrev
