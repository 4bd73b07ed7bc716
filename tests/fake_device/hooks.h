#pragma once

#include <ATen/core/Generator.h>

namespace torchrev {
namespace test {

/// The default generator of a fake device; of the current one for -1.
const at::Generator& fake_generator(int64_t device);

/// Registers generators and pinned memory with LibTorch.
void install_hooks();

}  // namespace test
}  // namespace torchrev
