#pragma once

#include <torch/csrc/api/include/torch/nn/modules/batchnorm.h>
#include <torch/csrc/api/include/torch/nn/modules/container/sequential.h>
#include <torch/csrc/api/include/torch/nn/modules/linear.h>
#include <torch/csrc/api/include/torch/nn/pimpl.h>
#include <torchrev/nn/residual_block.h>
#include <torchrev/nn/reversible.h>
#include <torchrev/options.h>

#include <memory>
#include <ostream>
#include <string>
#include <vector>

namespace torchrev {
namespace nn {

/// Options for `RevNet`.
///
/// Example:
/// ```
/// torchrev::nn::RevNet net(
///     torchrev::nn::RevNetOptions().depths({2, 2}).widths({16, 32}));
/// ```
struct TORCHREV_API RevNetOptions {
  /// Reversible blocks of each stage, at least 1. Default: {3, 3, 3}.
  TORCH_ARG(std::vector<int64_t>, depths) = {3, 3, 3};
  /// Channels of each stage, of which each stream has half: even (for
  /// bottlenecks multiples of 8), none smaller than the one before. Default:
  /// {32, 64, 112}.
  TORCH_ARG(std::vector<int64_t>, widths) = {32, 64, 112};
  /// "basic" or "bottleneck", see ResidualBlockOptions. Default: "basic".
  TORCH_ARG(std::string, block) = "basic";
  /// Length of the output. Default: 10.
  TORCH_ARG(int64_t, classes) = 10;
  /// Channels of the images. Default: 3.
  TORCH_ARG(int64_t, in_channels) = 3;
  /// Of each stage, with streams split(1). Default: split(1).
  TORCH_ARG(ReversibleOptions, reversible) = ReversibleOptions().split(1);
  /// Of each stage alone; see ReversibleSequentialOptions. Default: none.
  TORCH_ARG(torch::optional<int64_t>, memory_budget) = torch::nullopt;
};

/// Reversible residual network for images: a stem (3 x 3 convolution, batch
/// norm, ReLU), stages of reversible blocks
///   y1 = x1 + F(x2),   y2 = x2 + G(y1)
/// over the halves of the channels, a plain ResidualBlock of stride 2 before
/// each stage but the first, and a head (batch norm, ReLU, mean over all
/// pixels, linear). F and G are residual_functions over half the channels.
///
/// Of the activations of a stage its output alone is kept, so memory does not
/// grow with `depths`, at the price of one more evaluation of F and G. (What
/// grows is a copy of the running statistics of F's and G's batch norms, 16
/// bytes for each channel of a stage and basic block.) The blocks between the
/// stages halve the resolution and have no inverse: they keep their
/// activations.
///
/// Batch norm counts a step once: statistics are those of the same network
/// through plain autograd, to the bit.
///
/// Modules are registered as `stem`, `down1`, `stage0`, `norm`, `classifier`,
/// where `down1` comes before `stage1`.
///
/// Requires:  train mode needs more than one value per channel in each batch
///            norm, as torch::nn::BatchNorm2d does.
/// @throws c10::ValueError for options out of range.
/// Reference: Gomez et al., "The Reversible Residual Network", 2017.
///
/// Example:
/// ```
/// torchrev::nn::RevNet net(torchrev::nn::RevNetOptions().classes(100));
/// auto logits = net->forward(torch::randn({8, 3, 32, 32}));  // [8, 100]
/// ```
class TORCHREV_API RevNetImpl : public torch::nn::Module {
 public:
  explicit RevNetImpl(RevNetOptions options = {});

  /// @param x [N, in_channels, H, W], floating point, of the parameters' dtype.
  /// @return  [N, classes], not normalised.
  /// @throws c10::ValueError for another shape.
  Tensor forward(const Tensor& x);

  /// A deep copy, on `device` if given.
  std::shared_ptr<torch::nn::Module> clone(
      const torch::optional<c10::Device>& device =
          torch::nullopt) const override;
  /// Prints `torchrev::nn::RevNet(depths=[3, 3, 3], widths=[32, 64, 112],
  /// block=basic, classes=10)`.
  void pretty_print(std::ostream& stream) const override;

  /// The options with which this module was constructed.
  RevNetOptions options;
  torch::nn::Sequential stem{nullptr};
  /// `downs[i]` comes before `stages[i + 1]`.
  std::vector<ResidualBlock> downs;
  std::vector<ReversibleSequential> stages;
  torch::nn::BatchNorm2d norm{nullptr};
  torch::nn::Linear classifier{nullptr};

 private:
  /// Becomes a clone of `other`, for torch::nn::Cloneable modules around it.
  void clone_(
      torch::nn::Module& other,
      const torch::optional<c10::Device>& device) override;
};

/// A `ModuleHolder` subclass for `RevNetImpl`.
TORCH_MODULE(RevNet);

}  // namespace nn
}  // namespace torchrev
