#pragma once

#include "differential/threads.h"

/// Programs on the fake device, which is several: streams on one of them or on
/// the CPU, branches on the same one or on others, each step of a stack on
/// another stream than the step before.

namespace torchrev {
namespace test {
namespace differential {

/// `program`, its streams and branches on devices that its seed chooses.
Program for_devices(const Program& program);

/// Moves a model, which is on the CPU, to where its program wants it.
void move_to_devices(const Program& program, Model& model);

/// The same for programs in threads. Each has a device for its streams, if they
/// share nothing; branches are on any. One model for all is on one device.
Placement in_threads_on_devices();

/// What differs from plain autograd, also where generators stand, and what the
/// fake device saw of races and faults.
std::string difference_on_devices(uint64_t seed);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
