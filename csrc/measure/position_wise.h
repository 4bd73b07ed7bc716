#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>

namespace torchrev {
namespace detail {

// See torchrev::check_position_wise.
void check_position_wise(
    const Branch& branch,
    const Tensor& x,
    int64_t chunks,
    int64_t chunk_dim,
    at::TensorList context);

}  // namespace detail
}  // namespace torchrev
