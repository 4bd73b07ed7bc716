#include "device/capabilities.h"

#include <algorithm>
#include <array>

namespace torchrev {
namespace detail {

namespace {

struct Capabilities {
  c10::DeviceType type;
  bool streams;
  bool generator;
};

// A device type that is missing here is treated as the CPU is: its work is done
// when a call returns, and its random numbers are not replayed.
constexpr std::array<Capabilities, 4> kAccelerators = {{
    {c10::DeviceType::CUDA, /*streams=*/true, /*generator=*/true},
    {c10::DeviceType::XPU, /*streams=*/true, /*generator=*/true},
    {c10::DeviceType::MPS, /*streams=*/false, /*generator=*/true},
    {c10::DeviceType::PrivateUse1, /*streams=*/true, /*generator=*/true},
}};

Capabilities capabilities_of(c10::DeviceType type) {
  const auto found = std::find_if(
      kAccelerators.begin(), kAccelerators.end(), [type](const auto& row) {
        return row.type == type;
      });
  return found == kAccelerators.end() ? Capabilities{type, false, false}
                                      : *found;
}

}  // namespace

bool has_streams(const c10::Device& device) {
  return capabilities_of(device.type()).streams;
}

bool has_generator(const c10::Device& device) {
  return capabilities_of(device.type()).generator;
}

}  // namespace detail
}  // namespace torchrev
