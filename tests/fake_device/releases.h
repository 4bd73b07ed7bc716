#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <torch/version.h>

/// What the fake device has to do otherwise in other releases of LibTorch.

#if TORCH_VERSION_MAJOR > 2 || \
    (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
#define TORCHREV_FAKE_IS_PRIVATE_USE 1
#else
#define TORCHREV_FAKE_IS_PRIVATE_USE 0
#endif

namespace torchrev {
namespace test {

/// The type that the fake device registers. Old releases order streams of CUDA
/// alone in backward, and give generators to CUDA alone: there the fake device
/// takes the place of CUDA, in a build that has none.
#if TORCHREV_FAKE_IS_PRIVATE_USE
constexpr auto kFake = c10::DeviceType::PrivateUse1;
constexpr auto kFakeKey = c10::DispatchKey::PrivateUse1;
#else
constexpr auto kFake = c10::DeviceType::CUDA;
constexpr auto kFakeKey = c10::DispatchKey::CUDA;
#endif

/// Whether a guard can be asked if a stream is being captured.
#if TORCH_VERSION_MAJOR > 2 || \
    (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 13)
#define TORCHREV_FAKE_KNOWS_CAPTURES 1
#else
#define TORCHREV_FAKE_KNOWS_CAPTURES 0
#endif
constexpr bool kKnowsCaptures = TORCHREV_FAKE_KNOWS_CAPTURES == 1;

}  // namespace test
}  // namespace torchrev
