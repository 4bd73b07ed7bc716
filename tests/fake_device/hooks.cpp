#include "fake_device/hooks.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <array>

#include "fake_device/guard.h"
#include "fake_device/memory.h"

#if TORCHREV_FAKE_IS_PRIVATE_USE
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/DeviceType.h>
#else
#include <ATen/detail/CUDAHooksInterface.h>
#endif

namespace torchrev {
namespace test {

// The CPU's kernels draw, so the generators are of the kind that these take.
const at::Generator& fake_generator(int64_t device) {
  static auto* const generators = [] {
    auto* const made = new std::array<at::Generator, kFakeDevices>;
    for (auto& generator : *made) {
      generator = at::make_generator<at::CPUGeneratorImpl>();
    }
    return made;
  }();
  const auto index = device < 0 ? resolved(c10::Device(kFake)).index() : device;
  note_use(index);
  return (*generators)[index];
}

namespace {

#if TORCHREV_FAKE_IS_PRIVATE_USE

struct FakeHooks final : at::PrivateUse1HooksInterface {
  void init() const override {}
  bool isBuilt() const override {
    return true;
  }
  bool isAvailable() const override {
    return true;
  }
  bool hasPrimaryContext(c10::DeviceIndex device) const override {
    return was_used(device);
  }
  c10::DeviceIndex deviceCount() const override {
    return kFakeDevices;
  }
  c10::DeviceIndex getCurrentDevice() const override {
    return resolved(c10::Device(kFake)).index();
  }
  bool isPinnedPtr(const void* data) const override {
    return is_pinned(data);
  }
  c10::Allocator* getPinnedMemoryAllocator() const override {
    return &pinned_allocator();
  }
  const at::Generator& getDefaultGenerator(
      c10::DeviceIndex device) const override {
    return fake_generator(device);
  }
};

#else

struct FakeHooks final : at::CUDAHooksInterface {
  explicit FakeHooks(at::CUDAHooksArgs) {}
  void initCUDA() const override {}
  bool hasCUDA() const override {
    return true;
  }
  bool hasPrimaryContext(int64_t device) const override {
    return was_used(device);
  }
  int getNumGPUs() const override {
    return kFakeDevices;
  }
  int64_t current_device() const override {
    return resolved(c10::Device(kFake)).index();
  }
  bool isPinnedPtr(void* data) const override {
    return is_pinned(data);
  }
  c10::Allocator* getPinnedMemoryAllocator() const override {
    return &pinned_allocator();
  }
  const at::Generator& getDefaultCUDAGenerator(
      c10::DeviceIndex device) const override {
    return fake_generator(device);
  }
  void deviceSynchronize(int64_t /*device*/) const override {
    Timeline::instance().wait_for_all();
  }
};

#endif

}  // namespace

void install_hooks() {
#if TORCHREV_FAKE_IS_PRIVATE_USE
  c10::register_privateuse1_backend("fake");
  at::RegisterPrivateUse1HooksInterface(new FakeHooks);
#else
  at::CUDAHooksRegistry()->Register(
      "CUDAHooks", [](at::CUDAHooksArgs arguments) {
        return std::unique_ptr<at::CUDAHooksInterface>(
            new FakeHooks(arguments));
      });
#endif
}

}  // namespace test
}  // namespace torchrev
