// Trains one step of a reversible stack and inverts it, through the C++ API.

#include <ATen/ATen.h>
#include <torch/nn/modules/linear.h>
#include <torchrev/coupling.h>
#include <torchrev/nn/reversible.h>
#include <torchrev/version.h>

#include <iostream>

int main() {
  torchrev::nn::ReversibleSequential stack;
  for (int i = 0; i < 3; ++i) {
    stack->push_back(torch::nn::Linear(4, 4), torch::nn::Linear(4, 4));
  }
  const auto x = at::randn({2, 8});
  const auto y = stack->forward(x);
  y.sum().backward();

  const auto halves = x.chunk(2, -1);
  const auto [y1, y2] = torchrev::additive_coupling_sequence(
      stack->branches, halves[0], halves[1]);
  if (!y.equal(at::cat({y1, y2}, -1)) ||
      !stack->inverse(y).allclose(x, 1e-5, 1e-5)) {
    std::cerr << "The stack does not compute its coupling or its inverse.\n";
    return 1;
  }
  for (const auto& parameter : stack->parameters()) {
    if (!parameter.grad().defined()) {
      std::cerr << "A parameter got no gradient.\n";
      return 1;
    }
  }
  std::cout << "torchrev " << TORCHREV_VERSION_MAJOR << "."
            << TORCHREV_VERSION_MINOR << "." << TORCHREV_VERSION_PATCH
            << " trained one step of " << stack << "\n";
  return 0;
}
