#pragma once

#include <torch/csrc/api/include/torch/nn/module.h>

#include <memory>

// Cloning of modules that hold branches. torch::nn::Cloneable clones children
// by their static type, which a Branch does not have, so these modules
// implement clone() themselves.

namespace torchrev {
namespace detail {

// A clone of `child`, a ModuleHolder.
template <typename Holder>
Holder clone_of(
    const Holder& child, const torch::optional<c10::Device>& device) {
  return Holder(std::dynamic_pointer_cast<typename Holder::ContainedType>(
      child->clone(device)));
}

// Makes `module` a clone of `other`. A torch::nn::Cloneable that holds `module`
// calls this through the virtual clone_().
template <typename Impl>
void become_clone(
    Impl& module,
    const torch::nn::Module& other,
    const torch::optional<c10::Device>& device) {
  module = dynamic_cast<const Impl&>(*other.clone(device));
}

}  // namespace detail
}  // namespace torchrev
