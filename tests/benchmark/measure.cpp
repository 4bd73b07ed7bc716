#include "measure.h"

#include <torch/types.h>

#include <algorithm>
#include <ctime>

#include "examples/memory_meter.h"

namespace torchrev_benchmark {

using torchrev_examples::MemoryMeter;

double cpu_seconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle]
                                : (values[middle - 1] + values[middle]) / 2;
}

Cost cost_of_step(
    const std::function<void()>& forward,
    const std::function<void()>& backward) {
  auto& meter = MemoryMeter::install();
  meter.reset_peak();
  const auto live = meter.live();
  const auto allocations = meter.allocations();
  const auto start = cpu_seconds();
  Cost cost;
  forward();
  cost.retained = meter.live() - live;
  backward();
  cost.seconds = cpu_seconds() - start;
  cost.peak = meter.peak() - live;
  cost.allocations = meter.allocations() - allocations;
  return cost;
}

Problem::Problem(
    const Blocks& blocks, int64_t batch, int64_t tokens, int64_t width)
    : parameters_(parameters_of(blocks)),
      x_(torch::randn({batch, tokens, 2 * width})),
      weight_(torch::randn_like(x_)) {
  x_.requires_grad_();
  for (const auto& parameter : parameters_) {
    parameter.mutable_grad() = torch::zeros_like(parameter);
  }
}

Cost Problem::measure(Step& step) const {
  zero_gradients();
  return cost_of_step(
      [&] { step.forward(x_); }, [&] { step.backward(weight_); });
}

double Problem::seconds_of(Step& step, int64_t steps) const {
  zero_gradients();
  const auto start = cpu_seconds();
  for (int64_t i = 0; i < steps; ++i) {
    step.forward(x_);
    step.backward(weight_);
  }
  return (cpu_seconds() - start) / static_cast<double>(steps);
}

std::vector<Tensor> Problem::gradients(Step& step) const {
  seconds_of(step, 1);
  std::vector<Tensor> gradients{x_.grad().clone()};
  for (const auto& parameter : parameters_) {
    gradients.push_back(parameter.grad().clone());
  }
  return gradients;
}

void Problem::zero_gradients() const {
  x_.mutable_grad().reset();
  for (const auto& parameter : parameters_) {
    parameter.grad().zero_();
  }
}

double largest_difference(
    const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  auto largest = torch::zeros({});
  for (std::size_t i = 0; i < a.size(); ++i) {
    // Unlike std::max, this keeps a NaN.
    largest =
        torch::maximum(largest, (a[i] - b[i]).abs().max() / b[i].abs().max());
  }
  return largest.item<double>();
}

}  // namespace torchrev_benchmark
