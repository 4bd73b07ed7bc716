#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <string>
#include <utility>

namespace torchrev {
namespace detail {

// The torch::autograd::Function T, whose node is called T::kName. LibTorch
// would call it by its C++ type, "torch::autograd::CppNode<...>", which is what
// users read in grad_fn, in anomaly mode and in a profile.
template <typename T>
struct NamedFunction : torch::autograd::Function<NamedFunction<T>> {
  template <typename... Args>
  static auto forward(torch::autograd::AutogradContext* ctx, Args&&... args) {
    return T::forward(ctx, std::forward<Args>(args)...);
  }
};

}  // namespace detail
}  // namespace torchrev

namespace torch {
namespace autograd {

// The node that NamedFunction<T>::apply makes; a node of T but for its name.
template <typename T>
struct CppNode<torchrev::detail::NamedFunction<T>> : CppNode<T> {
  std::string name() const override {
    return T::kName;
  }
};

}  // namespace autograd
}  // namespace torch
