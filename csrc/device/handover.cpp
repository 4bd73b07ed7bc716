#include "device/handover.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include "device/capabilities.h"

namespace torchrev {
namespace detail {

Handover::Handover(const at::Tensor& tensor) {
  if (!tensor.defined() || !has_streams(tensor.device())) {
    return;
  }
  const auto type = tensor.device().type();
  const c10::impl::VirtualGuardImpl guard(type);
  written_.reset(
      new Written{guard.getStream(tensor.device()), c10::Event(type)});
  written_->event.record(written_->on);
}

void Handover::receive(const at::Tensor& tensor) const {
  if (!written_) {
    return;
  }
  const c10::impl::VirtualGuardImpl guard(tensor.device().type());
  const auto current = guard.getStream(tensor.device());
  if (current != written_->on) {
    written_->event.block(current);
    guard.recordDataPtrOnStream(tensor.storage().data_ptr(), current);
  }
}

}  // namespace detail
}  // namespace torchrev
