#pragma once

#include <c10/core/Device.h>

// What differs between accelerators, in one place.

namespace torchrev {
namespace detail {

// Whether work on the device is queued, so that the host runs ahead of it, and
// is ordered by streams and events.
bool has_streams(const c10::Device& device);

// Whether random numbers on the device come from a generator of its own.
bool has_generator(const c10::Device& device);

}  // namespace detail
}  // namespace torchrev
