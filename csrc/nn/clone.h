#pragma once

#include <torch/csrc/api/include/torch/nn/module.h>

#include <memory>

// How modules clone that are no torch::nn::Cloneable, since the type of their
// children is known at run time alone.

namespace torchrev {
namespace detail {

// A clone of `child`, a ModuleHolder.
template <typename Holder>
Holder clone_of(
    const Holder& child, const torch::optional<c10::Device>& device) {
  return Holder(std::dynamic_pointer_cast<typename Holder::ContainedType>(
      child->clone(device)));
}

// What a Cloneable around `module` asks of it: to become a clone of `other`.
template <typename Impl>
void become_clone(
    Impl& module,
    const torch::nn::Module& other,
    const torch::optional<c10::Device>& device) {
  module = dynamic_cast<const Impl&>(*other.clone(device));
}

}  // namespace detail
}  // namespace torchrev
