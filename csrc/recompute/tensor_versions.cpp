#include "recompute/tensor_versions.h"

#include "tensors.h"

namespace torchrev {
namespace detail {

TensorVersions::TensorVersions(const std::vector<Tensor>& tensors) {
  seen_.reserve(tensors.size());
  for (const auto& tensor : tensors) {
    seen_.push_back(look(tensor));
  }
}

TensorVersions::Seen TensorVersions::look(const Tensor& tensor) {
  return tensor.defined() ? Seen{version_of(tensor), tensor.requires_grad()}
                          : Seen{0, false};
}

void TensorVersions::check(
    const Place& place,
    const char* what,
    const std::vector<Tensor>& tensors) const {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto now = look(tensors[i]);
    const bool written = now.version != seen_[i].version;
    TORCHREV_CHECK(
        ValueError,
        !written && now.requires_grad == seen_[i].requires_grad,
        place.entry,
        c10::str("the ", what, " of ", place, " to be as in forward"),
        c10::str(
            "one of shape ",
            tensors[i].sizes(),
            written ? " that was modified in place"
                    : " whose requires_grad was changed"),
        "Call backward first; an optimiser's step comes after it.");
  }
}

bool TensorVersions::written(const std::vector<Tensor>& tensors) const {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (look(tensors[i]).version != seen_[i].version) {
      return true;
    }
  }
  return false;
}

std::vector<ParameterWrite> TensorVersions::writes(
    const std::vector<Tensor>& tensors) const {
  std::vector<ParameterWrite> writes;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    writes.push_back({tensors[i], look(tensors[i]).version - seen_[i].version});
  }
  return writes;
}

void TensorVersions::note_handles(const std::vector<Tensor>& tensors) {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    seen_[i].handles = static_cast<uint32_t>(tensors[i].use_count());
  }
}

bool TensorVersions::lost_a_handle(
    std::size_t i, const Tensor& tensor, std::size_t more) const {
  return tensor.use_count() < seen_[i].handles + more;
}

}  // namespace detail
}  // namespace torchrev
