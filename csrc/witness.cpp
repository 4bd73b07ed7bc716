#include "witness.h"

#include "call.h"

namespace torchrev {
namespace detail {

Witness::Witness(const std::vector<Tensor>& tensors) {
  seen_.reserve(tensors.size());
  for (const auto& tensor : tensors) {
    seen_.push_back(look(tensor));
  }
}

Witness::Seen Witness::look(const Tensor& tensor) {
  return tensor.defined() ? Seen{version_of(tensor), tensor.requires_grad()}
                          : Seen{0, false};
}

void Witness::check(
    const Place& place,
    const char* what,
    const std::vector<Tensor>& tensors) const {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto now = look(tensors[i]);
    const bool written = now.version != seen_[i].version;
    TORCH_CHECK_VALUE(
        !written && now.requires_grad == seen_[i].requires_grad,
        "torchrev::",
        place.entry,
        ": expected the ",
        what,
        " of ",
        place,
        " to be as in forward, but got one of shape ",
        tensors[i].sizes(),
        written ? " that was modified in place"
                : " whose requires_grad was changed",
        ". Call backward first; an optimiser's step comes after it.");
  }
}

}  // namespace detail
}  // namespace torchrev
