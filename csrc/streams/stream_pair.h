#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/step_id.h>

#include <array>

namespace torchrev {
namespace detail {

using at::Tensor;

// The two streams of a stack between two steps.
struct StreamPair : std::array<Tensor, 2> {
  // The stream that a step changes, out = addend + branch(other), and the one
  // that its branch reads.
  Tensor& changed_by(Role role) {
    return (*this)[role == Role::kF ? 0 : 1];
  }
  Tensor& read_by(Role role) {
    return (*this)[role == Role::kF ? 1 : 0];
  }

  bool defined() const {
    return (*this)[0].defined();
  }
};

}  // namespace detail
}  // namespace torchrev
