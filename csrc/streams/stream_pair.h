#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/step_id.h>

#include <array>

namespace torchrev {
namespace detail {

using at::Tensor;

// The number of the stream that F, or G, changes, out = addend + branch(other);
// its branch reads the other one.
inline std::size_t stream_changed_by(Role role) {
  return role == Role::kF ? 0 : 1;
}

// The two streams of a stack between two steps.
struct StreamPair : std::array<Tensor, 2> {
  Tensor& changed_by(Role role) {
    return (*this)[stream_changed_by(role)];
  }
  Tensor& read_by(Role role) {
    return (*this)[1 - stream_changed_by(role)];
  }

  bool defined() const {
    return (*this)[0].defined();
  }
};

}  // namespace detail
}  // namespace torchrev
