#pragma once

namespace torchrev {
namespace test {

/// Registers the operators of the fake device: each is the kernel of the CPU
/// over the same memory, run at once. What it would have to wait for on a real
/// device is noted, see Timeline and Memory.
void install_operators();

}  // namespace test
}  // namespace torchrev
