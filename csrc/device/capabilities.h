#pragma once

#include <c10/core/Device.h>

#include <vector>

// What differs between accelerators, in one place: whoever asks what a device
// type has, asks here.

namespace torchrev {
namespace detail {

// Whether work on the device is queued, so that the host runs ahead of it, and
// is ordered by streams and events.
bool has_streams(const c10::Device& device);

// Whether random numbers on the device come from a generator of its own, which
// this release of LibTorch gives out.
bool has_generator(const c10::Device& device);

// The accelerators with such a generator on which something was made so far:
// what a branch may draw from, whatever device its input is on. Asks few words
// of LibTorch, and makes nothing on a device.
std::vector<c10::Device> generators_in_use();

// The device types that have an autocast of their own and are part of this
// build: the CPU first.
std::vector<c10::DeviceType> autocast_types();

}  // namespace detail
}  // namespace torchrev
