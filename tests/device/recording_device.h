#pragma once

#include <c10/core/Event.h>
#include <c10/core/TensorImpl.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "support/support.h"

/// A device that notes what is asked of its streams, for as long as it lives.
/// It computes nothing.

namespace torchrev {
namespace test {

using Log = std::vector<std::string>;

class RecordingDevice final : public c10::impl::DeviceGuardImplInterface {
 public:
  RecordingDevice() {
    registered().store(this);
  }
  ~RecordingDevice() override {
    registered().store(nullptr);
  }
  RecordingDevice(const RecordingDevice&) = delete;
  RecordingDevice& operator=(const RecordingDevice&) = delete;

  void use_stream(c10::StreamId id) {
    current_ = id;
  }
  const Log& log() const {
    return log_;
  }

  /// Without memory.
  static Tensor tensor() {
    c10::Storage storage(
        c10::Storage::use_byte_size_t(),
        0,
        c10::DataPtr(nullptr, {at::kPrivateUse1, 0}),
        /*allocator=*/nullptr,
        /*resizable=*/false);
    return at::detail::make_tensor<c10::TensorImpl>(
        std::move(storage),
        c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
        caffe2::TypeMeta::Make<float>());
  }

  c10::DeviceType type() const override {
    return at::kPrivateUse1;
  }
  c10::Device exchangeDevice(c10::Device) const override {
    return getDevice();
  }
  c10::Device getDevice() const override {
    return {at::kPrivateUse1, 0};
  }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::DeviceIndex deviceCount() const noexcept override {
    return 1;
  }

  c10::Stream getStream(c10::Device device) const noexcept override {
    return c10::Stream(c10::Stream::UNSAFE, device, current_);
  }
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override {
    return c10::Stream(
        c10::Stream::UNSAFE, getDevice(), std::exchange(current_, stream.id()));
  }

  void record(
      void** event,
      const c10::Stream& stream,
      const c10::DeviceIndex,
      const c10::EventFlag) const override {
    *event = new c10::StreamId(stream.id());
    log_.push_back("record on " + std::to_string(stream.id()));
  }
  void block(void* event, const c10::Stream& stream) const override {
    log_.push_back(
        std::to_string(stream.id()) + " waits for " +
        std::to_string(*static_cast<c10::StreamId*>(event)));
  }
  void destroyEvent(
      void* event, const c10::DeviceIndex) const noexcept override {
    delete static_cast<c10::StreamId*>(event);
  }
  void recordDataPtrOnStream(
      const c10::DataPtr&, const c10::Stream& stream) const override {
    log_.push_back("memory is in use on " + std::to_string(stream.id()));
  }

 private:
  static std::atomic<const c10::impl::DeviceGuardImplInterface*>& registered() {
    return c10::impl::device_guard_impl_registry[static_cast<std::size_t>(
        c10::DeviceType::PrivateUse1)];
  }

  mutable c10::StreamId current_ = 0;
  mutable Log log_;
};

}  // namespace test
}  // namespace torchrev
