#include "device/capabilities.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "compat.h"

namespace torchrev {
namespace detail {

namespace {

struct Capabilities {
  c10::DeviceType type;
  bool streams;
  bool generator;
  bool autocast;
};

// A device type that is missing here is treated as the CPU is: its work is done
// when a call returns, and its random numbers are not replayed. Work on MPS is
// queued, in one queue; LibTorch waits where the host reads.
constexpr std::array<Capabilities, 7> kAccelerators = {{
    {c10::DeviceType::CUDA, /*streams=*/true, /*generator=*/true, true},
    {c10::DeviceType::XPU, /*streams=*/true, /*generator=*/true, true},
    {c10::DeviceType::MPS, /*streams=*/false, /*generator=*/true, true},
    {c10::DeviceType::HPU, /*streams=*/true, /*generator=*/true, true},
    {compat::kMTIA, /*streams=*/true, /*generator=*/true, true},
    {c10::DeviceType::XLA, /*streams=*/false, /*generator=*/false, true},
    {c10::DeviceType::PrivateUse1, /*streams=*/true, /*generator=*/true, true},
}};

Capabilities capabilities_of(c10::DeviceType type) {
  const auto found = std::find_if(
      kAccelerators.begin(), kAccelerators.end(), [type](const auto& row) {
        return row.type == type;
      });
  return found == kAccelerators.end() ? Capabilities{type, false, false, false}
                                      : *found;
}

// Null if no device of the type can exist in this process.
const c10::impl::DeviceGuardImplInterface* guard_of(c10::DeviceType type) {
  return type < c10::DeviceType::COMPILE_TIME_MAX_DEVICE_TYPES
             ? c10::impl::device_guard_impl_registry[static_cast<std::size_t>(
                                                         type)]
                   .load()
             : nullptr;
}

// A backend that does not say what is in use is asked once, since it answers by
// an exception; its devices are known by the tensors on them alone.
bool is_in_use(const c10::Device& device) {
  static std::array<std::atomic<bool>, 256> silent{};
  auto& is_silent = silent[static_cast<std::size_t>(device.type())];
  if (is_silent) {
    return false;
  }
  try {
    return compat::is_in_use(device);
  } catch (const c10::Error&) {
    is_silent = true;
    return false;
  }
}

}  // namespace

bool has_streams(const c10::Device& device) {
  return capabilities_of(device.type()).streams;
}

bool has_generator(const c10::Device& device) {
  return capabilities_of(device.type()).generator &&
         compat::gives_generators(device.type());
}

std::vector<c10::Device> generators_in_use() {
  std::vector<c10::Device> devices;
  for (const auto& row : kAccelerators) {
    const auto* const guard = guard_of(row.type);
    if (!guard || !row.generator || !compat::gives_generators(row.type)) {
      continue;
    }
    for (c10::DeviceIndex i = 0; i < guard->deviceCount(); ++i) {
      const c10::Device device(row.type, i);
      if (is_in_use(device)) {
        devices.push_back(device);
      }
    }
  }
  return devices;
}

// Backends are registered when their libraries are loaded, which may be later
// than the first call.
std::vector<c10::DeviceType> autocast_types() {
  std::vector<c10::DeviceType> types{c10::DeviceType::CPU};
  for (const auto& row : kAccelerators) {
    if (row.autocast && guard_of(row.type) && compat::has_autocast(row.type)) {
      types.push_back(row.type);
    }
  }
  return types;
}

}  // namespace detail
}  // namespace torchrev
