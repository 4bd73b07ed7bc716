#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/api/include/torch/arg.h>
#include <torch/csrc/api/include/torch/nn/cloneable.h>
#include <torch/csrc/api/include/torch/nn/modules/container/sequential.h>
#include <torch/csrc/api/include/torch/nn/pimpl.h>
#include <torchrev/export.h>

#include <ostream>
#include <string>

namespace torchrev {

using at::Tensor;

namespace nn {

/// Options for `residual_function` and `ResidualBlock`.
///
/// Example:
/// ```
/// torchrev::nn::ResidualBlock block(
///     torchrev::nn::ResidualBlockOptions(16, 32).stride(2));
/// ```
struct TORCHREV_API ResidualBlockOptions {
  /// The two that have no default; see below.
  ResidualBlockOptions(int64_t in_channels, int64_t out_channels);

  /// Channels of the input.
  TORCH_ARG(int64_t, in_channels);
  /// Channels of the output, at least `in_channels`.
  TORCH_ARG(int64_t, out_channels);
  /// 1, or 2 to halve height and width. Default: 1.
  TORCH_ARG(int64_t, stride) = 1;
  /// "basic": two 3 x 3 convolutions. "bottleneck": 1 x 1 to a quarter of the
  /// output's channels, 3 x 3, and 1 x 1 back. Default: "basic".
  TORCH_ARG(std::string, block) = "basic";
};

/// The residual function of a pre-activation block: two ("basic") or three
/// ("bottleneck") times
///   batch norm, ReLU, convolution,
/// without biases, which the next batch norm would take away. The 3 x 3
/// convolution, of a basic block the first, has the stride.
///
/// @return maps [N, in_channels, H, W] to [N, out_channels, H', W'], where
///         H' is H / stride, rounded up. Weights are drawn from He's normal
///         distribution.
/// @throws c10::ValueError for options out of range, or out_channels that a
///         bottleneck cannot quarter.
/// Reference: He et al., "Identity Mappings in Deep Residual Networks", 2016.
TORCHREV_API torch::nn::Sequential residual_function(
    const ResidualBlockOptions& options);

/// A plain residual block, which keeps its activations:
///   y = S(x) + F(x),
/// F a residual_function. S is the identity where shapes allow it; else it
/// averages squares of stride x stride pixels (at an odd border, those that
/// there are) and puts channels of zeros before and behind: as RevNet's
/// authors do, so that a change of resolution or width costs no parameters of
/// its own. Zeros at both ends share out the channels of `x` evenly among the
/// two streams of a reversible stage that follows.
class TORCHREV_API ResidualBlockImpl
    : public torch::nn::Cloneable<ResidualBlockImpl> {
 public:
  /// @throws c10::ValueError as residual_function does.
  explicit ResidualBlockImpl(ResidualBlockOptions options);

  /// @param x [N, in_channels, H, W], floating point.
  /// @return  [N, out_channels, H', W'], as of residual_function.
  Tensor forward(const Tensor& x);

  /// Makes F anew, with new weights.
  void reset() override;
  /// Prints `torchrev::nn::ResidualBlock(16, 32, stride=2, block=basic)`.
  void pretty_print(std::ostream& stream) const override;

  /// The options with which this module was constructed.
  ResidualBlockOptions options;
  /// F.
  torch::nn::Sequential f{nullptr};
};

/// A `ModuleHolder` subclass for `ResidualBlockImpl`.
TORCH_MODULE(ResidualBlock);

}  // namespace nn
}  // namespace torchrev
