#include "nn/residual_block.h"

#include <torchrev/nn/residual_block.h>

#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/constant_pad_nd.h>
#include <torch/csrc/api/include/torch/nn/init.h>
#include <torch/csrc/api/include/torch/nn/modules/activation.h>
#include <torch/csrc/api/include/torch/nn/modules/batchnorm.h>

#include <utility>

#include "check.h"
#include "options.h"

namespace torchrev {

namespace detail {

void check_block(const char* entry, const std::string& block) {
  TORCHREV_CHECK(
      ValueError,
      block == "basic" || block == "bottleneck",
      entry,
      "option `block` to be \"basic\" or \"bottleneck\"",
      c10::str("\"", block, "\""));
}

torch::nn::Conv2d convolution(
    int64_t in, int64_t out, int64_t kernel, int64_t stride) {
  torch::nn::Conv2d layer(torch::nn::Conv2dOptions(in, out, kernel)
                              .stride(stride)
                              .padding(kernel / 2)
                              .bias(false));
  torch::nn::init::kaiming_normal_(
      layer->weight, 0, torch::kFanOut, torch::kReLU);
  return layer;
}

}  // namespace detail

namespace nn {

namespace {

using detail::kExpansion;

void check_function(const char* entry, const ResidualBlockOptions& options) {
  detail::check_block(entry, options.block());
  detail::check_at_least(entry, "in_channels", 1, options.in_channels());
  detail::check_at_least(entry, "out_channels", 1, options.out_channels());
  TORCHREV_CHECK(
      ValueError,
      options.stride() == 1 || options.stride() == 2,
      entry,
      "option `stride` to be 1 or 2",
      c10::str(options.stride()));
  TORCHREV_CHECK(
      ValueError,
      options.block() == "basic" || options.out_channels() % kExpansion == 0,
      entry,
      c10::str(
          "option `out_channels` of a bottleneck to be a multiple of ",
          kExpansion),
      c10::str(options.out_channels()),
      "A quarter of them are inside.");
}

// Batch norm, ReLU and a convolution.
void append(
    torch::nn::Sequential& layers,
    int64_t in,
    int64_t out,
    int64_t kernel,
    int64_t stride = 1) {
  layers->push_back(torch::nn::BatchNorm2d(in));
  layers->push_back(torch::nn::ReLU());
  layers->push_back(detail::convolution(in, out, kernel, stride));
}

}  // namespace

ResidualBlockOptions::ResidualBlockOptions(
    int64_t in_channels, int64_t out_channels)
    : in_channels_(in_channels), out_channels_(out_channels) {}

torch::nn::Sequential residual_function(const ResidualBlockOptions& options) {
  check_function("nn::residual_function", options);
  const auto in = options.in_channels();
  const auto out = options.out_channels();
  torch::nn::Sequential layers;
  if (options.block() == "basic") {
    append(layers, in, out, 3, options.stride());
    append(layers, out, out, 3);
  } else {
    const auto inside = out / kExpansion;
    append(layers, in, inside, 1);
    append(layers, inside, inside, 3, options.stride());
    append(layers, inside, out, 1);
  }
  return layers;
}

ResidualBlockImpl::ResidualBlockImpl(ResidualBlockOptions options)
    : options(std::move(options)) {
  reset();
}

void ResidualBlockImpl::reset() {
  check_function("nn::ResidualBlock", options);
  TORCHREV_CHECK(
      ValueError,
      options.out_channels() >= options.in_channels(),
      "nn::ResidualBlock",
      "option `out_channels` to be at least `in_channels`",
      c10::str(options.out_channels(), " and ", options.in_channels()),
      "The shortcut adds channels and drops none.");
  f = register_module("f", residual_function(options));
}

Tensor ResidualBlockImpl::forward(const Tensor& x) {
  Tensor shortcut = x;
  if (options.stride() > 1) {
    shortcut = at::avg_pool2d(
        shortcut,
        options.stride(),
        options.stride(),
        /*padding=*/0,
        /*ceil_mode=*/true);
  }
  const auto added = options.out_channels() - options.in_channels();
  if (added > 0) {
    const auto before = added / 2;
    shortcut =
        at::constant_pad_nd(shortcut, {0, 0, 0, 0, before, added - before});
  }
  return shortcut + f->forward(x);
}

void ResidualBlockImpl::pretty_print(std::ostream& stream) const {
  stream << "torchrev::nn::ResidualBlock(" << options.in_channels() << ", "
         << options.out_channels() << ", stride=" << options.stride()
         << ", block=" << options.block() << ")";
}

}  // namespace nn
}  // namespace torchrev
