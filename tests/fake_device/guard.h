#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include "fake_device/releases.h"
#include "fake_device/timeline.h"

/// Which device and which stream are current in a thread.

namespace torchrev {
namespace test {

constexpr int64_t kFakeDevices = 3;

/// The current device if `device` has no index.
c10::Device resolved(const c10::Device& device);
/// The current stream of `device`.
Lane current_lane(const c10::Device& device);
/// Whether memory or a generator of the device was asked for.
bool was_used(int64_t device);
void note_use(int64_t device);
void forget_use(int64_t device);

/// Registers streams, events and the current device with LibTorch.
void install_guard();

}  // namespace test
}  // namespace torchrev
