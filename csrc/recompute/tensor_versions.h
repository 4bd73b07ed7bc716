#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "check.h"
#include "recompute/parameter_writes.h"

namespace torchrev {
namespace detail {

// The versions that tensors had in forward. A recompute would silently use what
// a tensor was changed to, so backward must find it unchanged.
class TensorVersions {
 public:
  explicit TensorVersions(const std::vector<Tensor>& tensors);

  // Throws c10::ValueError if one of `tensors`, the "parameters" or "context"
  // that `what` says, was written in place or has another requires_grad.
  void check(
      const Place& place,
      const char* what,
      const std::vector<Tensor>& tensors) const;

  // Whether one of `tensors` was written since.
  bool written(const std::vector<Tensor>& tensors) const;

  // How often each was written to since.
  std::vector<ParameterWrite> writes(const std::vector<Tensor>& tensors) const;

  // Notes how many handles there are of each, for lost_a_handle().
  void note_handles(const std::vector<Tensor>& tensors);
  // Whether tensor `i` of them, `tensor`, which now has `more` handles of ours
  // than then, has lost one since: an assignment to a member takes one away.
  bool lost_a_handle(
      std::size_t i, const Tensor& tensor, std::size_t more) const;

 private:
  struct Seen {
    uint32_t version;
    bool requires_grad;
    uint32_t handles = 0;
  };
  static Seen look(const Tensor& tensor);

  std::vector<Seen> seen_;
};

}  // namespace detail
}  // namespace torchrev
