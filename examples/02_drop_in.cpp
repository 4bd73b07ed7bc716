// A small ResNet. Another type of stage, one line of main(), makes its stages
// reversible: same interface, same parameters, no stored activations.

#include <torch/torch.h>
#include <torchrev/torchrev.h>

#include <iostream>

#include "memory_meter.h"

namespace {

using torch::Tensor;
constexpr int64_t kClasses = 10;

torch::nn::Conv2d conv(int64_t in, int64_t out, int64_t stride = 1) {
  return torch::nn::Conv2d(
      torch::nn::Conv2dOptions(in, out, 3).stride(stride).padding(1));
}

/// What a residual block adds to its input.
torch::nn::Sequential branch(int64_t width) {
  return torch::nn::Sequential(
      torch::nn::BatchNorm2d(width),
      torch::nn::ReLU(torch::nn::ReLUOptions(/*inplace=*/true)),
      conv(width, width));
}

/// The usual stage, two residual blocks at a time: a = x + f(x), y = a + g(a).
struct ResidualStageImpl : torch::nn::Module {
  void push_back(torch::nn::Sequential f, torch::nn::Sequential g) {
    branches->push_back(f);
    branches->push_back(g);
  }
  Tensor forward(Tensor x) {
    for (const auto& module : *branches) {
      x = x + module->as<torch::nn::Sequential>()->forward(x);
    }
    return x;
  }
  torch::nn::ModuleList branches =
      register_module("branches", torch::nn::ModuleList());
};
TORCH_MODULE(ResidualStage);

/// The reversible one. Both of its streams start as x, and end as their mean.
struct ReversibleStage : torchrev::nn::ReversibleSequential {
  ReversibleStage()
      : ReversibleSequential(torchrev::ReversibleOptions().duplicate()) {}
};

template <typename Stage>
Stage stage(int64_t width) {
  Stage result;
  for (int pair = 0; pair < 4; ++pair) {
    result->push_back(branch(width), branch(width));
  }
  return result;
}

template <typename Stage>
torch::nn::Sequential resnet() {
  return torch::nn::Sequential(
      conv(3, 16),
      stage<Stage>(16),
      conv(16, 32, /*stride=*/2),  // down-sampling is not reversible
      stage<Stage>(32),
      conv(32, 64, /*stride=*/2),
      stage<Stage>(64),
      torch::nn::AdaptiveAvgPool2d(torch::nn::AdaptiveAvgPool2dOptions(1)),
      torch::nn::Flatten(),
      torch::nn::Linear(64, kClasses));
}

/// @return the bytes of all tensors that one forward leaves behind.
int64_t kept_by_forward(torch::nn::Sequential& net, const Tensor& images) {
  const auto& meter = torchrev_examples::MemoryMeter::install();
  const auto before = meter.live();
  const auto y = net->forward(images);
  return meter.live() - before;
}

struct Result {
  int64_t kept;
  float loss;
};

/// Trains on noisy copies of one picture a class.
Result train(const char* name, torch::nn::Sequential net) {
  const auto labels = torch::arange(kClasses).repeat(2);
  const auto clean = torch::randn({kClasses, 3, 32, 32}).repeat({2, 1, 1, 1});
  const auto images = clean + torch::randn_like(clean);
  Result result{kept_by_forward(net, images), 0};
  const auto weights =
      torch::nn::utils::parameters_to_vector(net->parameters());
  std::cout << name << ": " << weights.numel() << " parameters, "
            << result.kept / 1024 << " KiB kept by forward, loss";
  torch::optim::Adam optimizer(net->parameters(), 1e-3);
  for (int step = 0; step < 12; ++step) {
    optimizer.zero_grad();
    const auto loss = torch::cross_entropy_loss(net->forward(images), labels);
    loss.backward();
    optimizer.step();
    std::cout << " " << (result.loss = loss.item<float>());
  }
  std::cout << "\n";
  return result;
}

}  // namespace

int main() {
  torchrev_examples::MemoryMeter::install();
  torch::manual_seed(1);
  const auto residual = train("residual", resnet<ResidualStage>());
  const auto reversible = train("reversible", resnet<ReversibleStage>());
  const bool learnt = residual.loss < 1 && reversible.loss < 1;
  return learnt && reversible.kept < residual.kept / 2 ? 0 : 1;
}
