#include <torch/torch.h>
#include <torchrev/torchrev.h>

#include <iostream>

int main() {
  torch::manual_seed(1);
  torchrev::nn::ReversibleSequential net;  // x = [x1, x2], halves of 32
  for (int block = 0; block < 64; ++block) {
    net->push_back(
        torch::nn::Sequential(torch::nn::Linear(32, 32), torch::nn::Tanh()),
        torch::nn::Sequential(torch::nn::Linear(32, 32), torch::nn::Tanh()));
  }
  torch::optim::Adam optimizer(net->parameters(), 1e-3);
  auto x = torch::randn({128, 64}), target = x.roll(1, /*dims=*/1);
  for (int step = 1; step <= 10; ++step) {
    optimizer.zero_grad();
    auto loss = torch::mse_loss(net->forward(x), target);
    loss.backward();  // rebuilds the activations of all 64 blocks
    optimizer.step();
    std::cout << "step " << step << "  loss " << loss.item<float>() << "\n";
  }
}
