// An application that calls torchrev's functions: an encoder whose branches are
// modules, a function and a TorchScript module, with a padding mask as context.
// After training, its inputs are computed back from its outputs.

#include <torch/script.h>
#include <torch/torch.h>
#include <torchrev/torchrev.h>

#include <cmath>
#include <cstdlib>
#include <iostream>
#include <vector>

namespace {

using torch::Tensor;
using torchrev::Branch;

constexpr int64_t kBatch = 32, kLength = 12, kWidth = 16;

/// A module whose forward takes a context tensor after x [N, T, C].
struct AttentionImpl : torch::nn::Module {
  Tensor forward(const Tensor& x, const Tensor& padding) {
    const auto scores = query(x).matmul(x.transpose(1, 2)) / std::sqrt(kWidth);
    return scores.masked_fill(padding, -INFINITY).softmax(-1).matmul(x);
  }
  torch::nn::Linear query =
      register_module("query", torch::nn::Linear(kWidth, kWidth));
};
TORCH_MODULE(Attention);

Branch feed_forward() {
  return torch::nn::Sequential(
      torch::nn::Linear(kWidth, 2 * kWidth),
      torch::nn::ReLU(),
      torch::nn::Linear(2 * kWidth, kWidth));
}

/// A function gets what it trains as an argument instead of capturing it.
Branch function() {
  const auto weight = torch::randn({kWidth, kWidth}) / kWidth;
  return Branch::function(
      [](const Tensor& x, at::TensorList, at::TensorList parameters) {
        return x.matmul(parameters[0]).tanh();
      },
      {weight.requires_grad_()});
}

Branch scripted() {
  torch::jit::Module module("Gate");
  const auto scale = torch::zeros({kWidth}, torch::requires_grad());
  module.register_parameter("scale", scale, /*is_buffer=*/false);
  module.define("def forward(self, x):\n  return self.scale * x.sigmoid()\n");
  return module;
}

using Blocks = std::vector<torchrev::BranchPair>;

std::vector<Tensor> parameters_of(const Blocks& blocks) {
  torch::nn::ModuleList modules;
  for (const auto& [f, g] : blocks) {
    modules->push_back(f.module());
    modules->push_back(g.module());
  }
  return modules->parameters();
}

/// Sequences of different lengths, and what is to be learnt: y1 is the mean of
/// x2 over the sequence without its padding.
struct Batch {
  Tensor x1 = torch::randn({kBatch, kLength, kWidth});
  Tensor x2 = torch::randn({kBatch, kLength, kWidth});
  Tensor lengths = torch::randint(2, kLength + 1, {kBatch, 1, 1});
  Tensor padding = torch::arange(kLength) >= lengths;            // [N, 1, T]
  Tensor real = padding.logical_not().transpose(1, 2);           // [N, T, 1]
  Tensor mean = (x2 * real).sum(1, /*keepdim=*/true) / lengths;  // [N, 1, C]
};

double train_step(
    const Blocks& blocks, const Batch& batch, torch::optim::Adam& optimizer) {
  optimizer.zero_grad();
  const auto [y1, y2] = torchrev::reversible_sequence(
      blocks, batch.x1, batch.x2, {batch.padding});
  const auto loss = ((y1 - batch.mean) * batch.real).square().mean();
  loss.backward();
  optimizer.step();
  return loss.item<double>();
}

/// How far the inverse of the outputs is from the inputs.
double inverse_error(const Blocks& blocks, const Batch& batch) {
  const auto [y1, y2] = torchrev::reversible_sequence(
      blocks, batch.x1, batch.x2, {batch.padding});
  const auto [x1, x2] =
      torchrev::reversible_sequence_inverse(blocks, y1, y2, {batch.padding});
  const auto errors = torch::stack({x1 - batch.x1, x2 - batch.x2}).abs();
  return errors.max().item<double>();
}

}  // namespace

int main() {
  torch::manual_seed(1);
  const Blocks blocks = {
      {Branch(Attention()).context(), feed_forward()},  // gets the padding
      {Branch(Attention()).context(), function()},
      {feed_forward(), scripted()}};
  const Batch batch;
  torch::optim::Adam optimizer(parameters_of(blocks), 1e-2);
  const double first = train_step(blocks, batch, optimizer);
  double last = first;
  for (int step = 1; step < 60; ++step) {
    last = train_step(blocks, batch, optimizer);
  }
  const double error = inverse_error(blocks, batch);
  std::cout << "loss " << first << " -> " << last
            << "\nlargest error of the inverse " << error << "\n";
  return last < first / 2 && error < 1e-4 ? EXIT_SUCCESS : EXIT_FAILURE;
}
