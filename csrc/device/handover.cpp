#include "device/handover.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include "device/capabilities.h"

namespace torchrev {
namespace detail {

namespace {

c10::Stream current_stream(const c10::Device& device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
}

}  // namespace

Handover::Handover(const at::Tensor& tensor) {
  if (tensor.defined()) {
    *this = Handover(tensor.device());
  }
}

Handover::Handover(const c10::Device& device) {
  if (has_streams(device)) {
    written_.reset(
        new Written{current_stream(device), c10::Event(device.type())});
    written_->event.record(written_->on);
  }
}

void Handover::receive(at::TensorList tensors) const {
  if (!written_) {
    return;
  }
  wait();
  // Which stream their memory belongs to is another question.
  for (const auto& tensor : tensors) {
    keep_for_current_stream(tensor);
  }
}

void Handover::wait() const {
  if (!written_) {
    return;
  }
  const auto current = current_stream(written_->on.device());
  if (current != written_->on) {
    written_->event.block(current);
  }
}

void keep_for_current_stream(const at::Tensor& tensor) {
  const auto device = tensor.device();
  if (has_streams(device) && tensor.has_storage()) {
    c10::impl::VirtualGuardImpl(device.type())
        .recordDataPtrOnStream(
            tensor.storage().data_ptr(), current_stream(device));
  }
}

}  // namespace detail
}  // namespace torchrev
