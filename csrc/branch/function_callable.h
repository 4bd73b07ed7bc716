#pragma once

#include <torchrev/branch.h>

#include <memory>
#include <vector>

namespace torchrev {
namespace detail {

// What Branch::function makes of its arguments.
std::shared_ptr<Callable> make_function_callable(
    Branch::Function function,
    std::vector<Tensor> parameters,
    std::vector<Tensor> buffers);

}  // namespace detail
}  // namespace torchrev
