#pragma once

#include <torch/csrc/api/include/torch/nn/modules/container/any.h>
#include <torchrev/detail/callable.h>

#include <memory>

namespace torchrev {
namespace detail {

// A module whose type is known at run time alone.
std::shared_ptr<Callable> make_module_callable(torch::nn::AnyModule module);

}  // namespace detail
}  // namespace torchrev
