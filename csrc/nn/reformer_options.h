#pragma once

#include <torchrev/nn/reformer.h>

// What the modules of nn/reformer.h check.

namespace torchrev {
namespace detail {

// @throws c10::ValueError in the name of `entry`.
void check_reformer(const char* entry, const nn::ReformerOptions& options);

// The arguments of their forward.
void check_reformer_input(
    const char* entry,
    const nn::ReformerOptions& options,
    const Tensor& x,
    const Tensor& padding);

// `padding`, if defined: bool, [N, T] of the tensor `name`, which is of
// `sizes`.
void check_padding(
    const char* entry,
    const Tensor& padding,
    const char* name,
    at::IntArrayRef sizes,
    int64_t n,
    int64_t t);

// The norm before attention, feed-forward and output.
torch::nn::LayerNorm layer_norm(int64_t width);

}  // namespace detail
}  // namespace torchrev
