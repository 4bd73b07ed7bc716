#include "problem.h"

#include <algorithm>

namespace where_memory_goes {
namespace {

torchrev_examples::MemoryMeter& meter() {
  return torchrev_examples::MemoryMeter::install();
}

/// At least two: what one more layer adds is always measured.
int64_t most_layers(const Arguments& arguments) {
  const auto& depths = arguments.depths;
  return std::max<int64_t>(2, *std::max_element(depths.begin(), depths.end()));
}

}  // namespace

Problem::Problem(const Arguments& arguments)
    : layers_(make_layers(arguments, most_layers(arguments))),
      x_(torch::randn({arguments.batch, arguments.tokens, arguments.d_model})),
      weight_(torch::randn_like(x_)) {
  x_.requires_grad_();
  x_.mutable_grad() = torch::zeros_like(x_);
}

int64_t Problem::kept(const Way& way, int64_t depth) const {
  const auto before = meter().live();
  const auto y = way.forward(first(depth), x_);
  return meter().live() - before;
}

Total Problem::step(const Way& way, int64_t depth) const {
  for (const auto& tensor : trained()) {
    tensor.grad().zero_();
  }
  const auto before = meter().live();
  meter().reset_peak();
  auto y = way.forward(first(depth), x_);
  Total total;
  total.kept = meter().live() - before;
  auto loss = (y[0] * weight_).sum();
  for (std::size_t stream = 1; stream < y.size(); ++stream) {
    loss = loss + (y[stream] * weight_).sum();
  }
  y.clear();
  loss.backward();
  total.peak = meter().peak() - before;
  return total;
}

std::vector<Tensor> Problem::gradients() const {
  std::vector<Tensor> all;
  for (const auto& tensor : trained()) {
    all.push_back(tensor.grad().clone());
  }
  return all;
}

Layers Problem::first(int64_t depth) const {
  return {layers_.begin(), layers_.begin() + depth};
}

std::vector<Tensor> Problem::trained() const {
  auto all = layer().parameters();
  all.push_back(x_);
  return all;
}

}  // namespace where_memory_goes
