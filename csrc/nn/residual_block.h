#pragma once

#include <torch/csrc/api/include/torch/nn/modules/conv.h>

#include <cstdint>
#include <string>

// What residual_block.cpp and revnet.cpp share.

namespace torchrev {
namespace nn {
namespace detail {

// Channels of a bottleneck's output for one inside.
constexpr int64_t kExpansion = 4;

// `entry` is the module that a message names.
void check_block(const char* entry, const std::string& block);
void check_at_least_one(const char* entry, const char* name, int64_t value);

// A square kernel, padded to keep the size, without bias.
torch::nn::Conv2d convolution(
    int64_t in, int64_t out, int64_t kernel, int64_t stride = 1);

}  // namespace detail
}  // namespace nn
}  // namespace torchrev
