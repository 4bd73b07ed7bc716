#pragma once

#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/pimpl.h>
#include <torchrev/nn/revnet.h>

#include <vector>

namespace train_revnet {

/// The residual twin of a RevNet: stem, blocks between the stages and head are
/// those of RevNet, and in its stages a plain block
///   x' = x + F(x)
/// of the full width C stands for each two reversible blocks.
///
/// Why this is the fair twin: F and G of a reversible block act on C / 2
/// channels, so that together they have half the weights, and half the
/// multiplications, of one F over C channels. Two reversible blocks for one
/// plain block thus make the two networks equal in parameters (but for the
/// batch norms of F and G), in arithmetic, and in the width and resolution of
/// what each stage hands on; nothing had to be tuned. Of all plain networks
/// with these parameters it is also one with few activations: keeping the
/// widths of F and G instead, with more blocks, keeps twice as many. What
/// remains different is the depth: RevNet passes through four times as many
/// convolutions a stage, each half as wide.
class ResNetImpl : public torch::nn::Module {
 public:
  /// @param options those of the RevNet; all depths are even.
  explicit ResNetImpl(const torchrev::nn::RevNetOptions& options);

  /// @param x [N, in_channels, H, W].  @return [N, classes].
  torch::Tensor forward(const torch::Tensor& x);

 private:
  torch::nn::Sequential stem_{nullptr};
  std::vector<torchrev::nn::ResidualBlock> downs_;
  std::vector<torch::nn::Sequential> stages_;
  torch::nn::BatchNorm2d norm_{nullptr};
  torch::nn::Linear classifier_{nullptr};
};

TORCH_MODULE(ResNet);

}  // namespace train_revnet
