#pragma once

#include <torch/csrc/api/include/torch/nn/modules/conv.h>

#include <cstdint>
#include <string>

// What residual_block.cpp and revnet.cpp share.

namespace torchrev {
namespace detail {

// Channels of a bottleneck's output for one inside.
constexpr int64_t kExpansion = 4;

// @throws c10::ValueError in the name of `entry`.
void check_block(const char* entry, const std::string& block);

// A square kernel, padded to keep the size, without bias.
torch::nn::Conv2d convolution(
    int64_t in, int64_t out, int64_t kernel, int64_t stride = 1);

}  // namespace detail
}  // namespace torchrev
