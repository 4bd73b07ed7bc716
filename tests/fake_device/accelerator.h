#pragma once

#include <c10/core/impl/VirtualGuardImpl.h>

#include "fake_device/memory.h"
#include "fake_device/releases.h"
#include "fake_device/timeline.h"
#include "support/support.h"

/// The accelerator that the tests of a run use: the fake device, or CUDA where
/// the environment says TORCHREV_TEST_ACCELERATOR=cuda. LibTorch knows one
/// accelerator at a time, so each run has one.

namespace torchrev {
namespace test {

bool is_fake();
c10::Device accelerator(int64_t index = 0);
/// Waits for all of its streams.
void synchronize();
Tensor on_accelerator(const Tensor& x, int64_t index = 0);
/// Leaves that require grad.
Inputs on_accelerator(const Inputs& inputs, int64_t index = 0);
/// A copy.
Branch on_accelerator(const Branch& branch, int64_t index = 0);
Blocks on_accelerator(const Blocks& blocks, int64_t index = 0);
/// The tensors themselves, to the fake device.
void move_to_fake(
    const std::vector<Tensor>& tensors, const c10::Device& device);
at::Generator generator_of(const c10::Device& device);

/// Runs what is called while it lives on another stream of the device.
class SideStream {
 public:
  explicit SideStream(const c10::Device& device)
      : SideStream(c10::impl::VirtualGuardImpl(device.type())
                       .getStreamFromGlobalPool(device)) {}
  explicit SideStream(const c10::Stream& stream)
      : guard_(stream.device_type()),
        stream_(stream),
        before_(guard_.exchangeStream(stream)) {}
  ~SideStream() {
    guard_.exchangeStream(before_);
  }
  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;

  const c10::Stream& stream() const {
    return stream_;
  }

 private:
  c10::impl::VirtualGuardImpl guard_;
  c10::Stream stream_;
  c10::Stream before_;
};

/// BatchNorm1d, Linear, Dropout: buffers, parameters and random numbers.
Branch normed(int64_t width);

/// A multiple of its input, and of its parameter if it has one, by a number for
/// which it asks the generator of a fake device itself, past all operators.
Branch asking(int64_t index, const std::vector<Tensor>& parameters = {});

/// Runs on every accelerator. Skipped where there is none, and failed by a race
/// or a fault on the fake device.
class AcceleratorTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  const c10::Device device = accelerator();
};

/// Of what only the fake device can show.
class FakeDeviceTest : public AcceleratorTest {
 protected:
  void SetUp() override;
  /// How often the host waits while `fn` runs.
  static int64_t waits_of(const std::function<void()>& fn);
  static Timeline& timeline() {
    return Timeline::instance();
  }
  static Memory& memory() {
    return Memory::instance();
  }
};

}  // namespace test
}  // namespace torchrev
