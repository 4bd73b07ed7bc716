#include "recompute/no_trace.h"

namespace torchrev {
namespace detail {

NoTrace::NoTrace(const Branch& branch, const Tensor& x)
    : branch_(branch),
      state_{Attributes::of(branch.callable()), copies_of_buffers(branch)},
      random_(RandomState::capture(devices_drawn_from(branch, x))) {}

NoTrace::~NoTrace() {
  state_.restore(branch_);
  random_.restore();
}

}  // namespace detail
}  // namespace torchrev
