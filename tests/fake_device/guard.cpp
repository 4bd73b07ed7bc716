#include "fake_device/guard.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <array>
#include <atomic>

#include "fake_device/memory.h"

namespace torchrev {
namespace test {

namespace {

// As many as CUDA has, of each priority.
constexpr c10::StreamId kStreamsInPool = 32;

thread_local int64_t current_device = 0;
thread_local std::array<c10::StreamId, kFakeDevices> current_streams{};

std::array<std::atomic<bool>, kFakeDevices> used{};

c10::Device device_of(int64_t index) {
  return {kFake, static_cast<c10::DeviceIndex>(index)};
}

c10::Stream stream_of(const c10::Device& device, c10::StreamId id) {
  return c10::Stream(c10::Stream::UNSAFE, device, id);
}

const Mark& mark_of(void* event) {
  return *static_cast<Mark*>(event);
}

class FakeGuard final : public c10::impl::DeviceGuardImplInterface {
 public:
  c10::DeviceType type() const override {
    return kFake;
  }
  c10::DeviceIndex deviceCount() const noexcept override {
    return kFakeDevices;
  }

  c10::Device getDevice() const override {
    return device_of(current_device);
  }
  c10::Device exchangeDevice(c10::Device device) const override {
    return device_of(std::exchange(current_device, device.index()));
  }
  void setDevice(c10::Device device) const override {
    current_device = device.index();
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    current_device = device.index();
  }

  c10::Stream getStream(c10::Device device) const noexcept override {
    const auto known = resolved(device);
    return stream_of(known, current_streams[known.index()]);
  }
  c10::Stream getDefaultStream(c10::Device device) const override {
    return stream_of(resolved(device), 0);
  }
  c10::Stream getStreamFromGlobalPool(
      c10::Device device, bool /*isHighPriority*/) const override {
    static std::atomic<c10::StreamId> streams{0};
    return stream_of(resolved(device), 1 + streams++ % kStreamsInPool);
  }
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override {
    auto& current = current_streams[stream.device_index()];
    return stream_of(stream.device(), std::exchange(current, stream.id()));
  }

  void record(
      void** event,
      const c10::Stream& stream,
      const c10::DeviceIndex /*device*/,
      const c10::EventFlag /*flag*/) const override {
    auto mark = Timeline::instance().record(lane_of(stream));
    delete static_cast<Mark*>(std::exchange(*event, nullptr));
    *event = new Mark(std::move(mark));
  }
  void block(void* event, const c10::Stream& stream) const override {
    Timeline::instance().block(mark_of(event), lane_of(stream));
  }
  bool queryEvent(void* event) const override {
    return Timeline::instance().query(mark_of(event));
  }
  void destroyEvent(
      void* event, const c10::DeviceIndex /*device*/) const noexcept override {
    delete static_cast<Mark*>(event);
  }
  bool queryStream(const c10::Stream& stream) const override {
    auto& timeline = Timeline::instance();
    return timeline.done(lane_of(stream)) <= timeline.now();
  }
  void synchronizeStream(const c10::Stream& stream) const override {
    Timeline::instance().wait(lane_of(stream));
  }
  void recordDataPtrOnStream(
      const c10::DataPtr& data, const c10::Stream& stream) const override {
    Memory::instance().record_stream(data.get(), lane_of(stream));
  }
#if TORCHREV_FAKE_IS_PRIVATE_USE
  void synchronizeEvent(void* event) const override {
    Timeline::instance().wait(mark_of(event));
  }
  void synchronizeDevice(const c10::DeviceIndex /*device*/) const override {
    Timeline::instance().wait_for_all();
  }
#endif
#if TORCHREV_FAKE_KNOWS_CAPTURES
  bool isStreamCapturing(const c10::Stream& stream) const override {
    return Timeline::instance().is_captured(lane_of(stream));
  }
#endif
};

}  // namespace

c10::Device resolved(const c10::Device& device) {
  return device.has_index() ? device : device_of(current_device);
}

Lane current_lane(const c10::Device& device) {
  const auto known = resolved(device);
  return {known.index(), current_streams[known.index()]};
}

bool was_used(int64_t device) {
  return used[device];
}

void note_use(int64_t device) {
  used[device] = true;
}

void forget_use(int64_t device) {
  used[device] = false;
}

// Never destroyed: LibTorch's registry does not own it.
void install_guard() {
  c10::impl::device_guard_impl_registry[static_cast<std::size_t>(kFake)].store(
      new FakeGuard);
}

}  // namespace test
}  // namespace torchrev
