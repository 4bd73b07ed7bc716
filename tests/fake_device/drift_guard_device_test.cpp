#include <c10/core/Event.h>

#include "fake_device/accelerator.h"
#include "guards/drift_guard.h"

// What the drift guard keeps of forward, it may read on another stream of the
// device, and its memory may be used again once that stream is done.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::DriftGuard;
using detail::StreamPair;

class DriftGuardDeviceTest : public FakeDeviceTest {
 protected:
  StreamPair pair() const {
    const auto x =
        torch::arange(1, 13, torch::device(device).dtype(at::kDouble));
    return {x, x + 1};
  }
  static std::unique_ptr<DriftGuard> guard() {
    return std::make_unique<DriftGuard>("entry", 0.05, 0, 2, true);
  }
  // Lets the current stream wait for what `stream` was given.
  void follow(const c10::Stream& stream) const {
    c10::Event reached(device.type());
    reached.record(stream);
    reached.block(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  }
  // Writes to all memory of the current stream that was freed and may be used.
  void use_what_is_free() const {
    std::vector<Tensor> tensors;
    for (int i = 0; i < 20; ++i) {
      for (const auto bytes : {512, 1024, 8192}) {
        tensors.push_back(
            torch::zeros({bytes}, torch::device(device).dtype(at::kByte)));
      }
    }
  }
};

TEST_F(DriftGuardDeviceTest, BackwardOnAnotherStreamReadsWhatForwardKept) {
  auto guards = guard();
  for (int64_t block = 0; block <= 2; ++block) {
    guards->in_forward(block, pair());
  }
  const SideStream side(device);
  guards->rebuilt(1, pair());
}

// (A number that nobody owns would be waited for.)
TEST_F(DriftGuardDeviceTest, MemoryThatBackwardReadsElsewhereIsKept) {
  auto guards = std::make_unique<DriftGuard>(
      "entry",
      0.05,
      0,
      2,
      true,
      detail::DeferredChecks::of(mlp_blocks(1, 3), device));
  const SideStream first(device);
  for (int64_t block = 0; block <= 2; ++block) {
    guards->in_forward(block, pair());
  }
  {
    const SideStream second(device);
    guards->rebuilt(1, pair());
  }
  guards.reset();
  use_what_is_free();
}

TEST_F(DriftGuardDeviceTest, MemoryThatForwardWritesElsewhereIsKept) {
  auto guards = guard();
  const SideStream first(device);
  guards->in_forward(0, pair());
  {
    const SideStream second(device);
    follow(first.stream());
    guards->in_forward(1, pair());
  }
  guards.reset();
  use_what_is_free();
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
