#include "network.h"

#include <torch/nn/functional/loss.h>
#include <torchrev/nn/revnet.h>

#include "../memory_meter.h"
#include "resnet.h"

namespace train_revnet {

torch::nn::AnyModule make_network(
    const std::string& model, const Shape& shape) {
  const auto options = torchrev::nn::RevNetOptions()
                           .depths(shape.depths)
                           .widths(shape.widths)
                           .block(shape.block)
                           .in_channels(1);
  return model == "revnet" ? torch::nn::AnyModule(torchrev::nn::RevNet(options))
                           : torch::nn::AnyModule(ResNet(options));
}

int64_t count_parameters(const torch::nn::AnyModule& network) {
  int64_t count = 0;
  for (const auto& parameter : network.ptr()->parameters()) {
    count += parameter.numel();
  }
  return count;
}

Pass forward_backward(
    torch::nn::AnyModule& network,
    const torch::Tensor& images,
    const torch::Tensor& labels) {
  auto& meter = torchrev_examples::MemoryMeter::install();
  const auto before = meter.live();
  meter.reset_peak();
  const auto loss = torch::nn::functional::cross_entropy(
      network.forward<torch::Tensor>(images), labels);
  loss.backward();
  return {loss.item<double>(), meter.peak() - before};
}

}  // namespace train_revnet
