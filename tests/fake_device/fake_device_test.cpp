#include "fake_device/accelerator.h"

// The fake device itself: what goes wrong on a device that runs behind the host
// is seen here, although operators compute at once.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

class FakeDeviceItselfTest : public FakeDeviceTest {
 protected:
  // An event after what the current stream was given so far.
  c10::Event event() const {
    c10::Event event(device.type());
    event.record(current());
    return event;
  }
  c10::Stream current() const {
    return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
  }

  Tensor x = torch::ones({4}, torch::device(device));
};

TEST_F(FakeDeviceItselfTest, ComputesWhatTheCpuComputes) {
  const auto input = torch::randn({3, 4}, at::kDouble);
  const auto weight = torch::randn({4, 4}, at::kDouble);
  const auto on_cpu = torch::softmax(torch::matmul(input, weight), 1).sum(0);
  const auto here =
      torch::softmax(torch::matmul(input.to(device), weight.to(device)), 1);
  EXPECT_TRUE(BitEqual(here.sum(0).cpu(), on_cpu));
}

TEST_F(FakeDeviceItselfTest, ReadOnAnotherStreamThatDoesNotWaitIsARace) {
  const auto y = x + 1;
  const SideStream side(device);
  const auto z = y * 2;
  const auto races = memory().take_races();
  ASSERT_EQ(races.size(), 1u);
  EXPECT_TRUE(Mentions(races[0], {"aten::mul", "reads", "aten::add"}));
}

TEST_F(FakeDeviceItselfTest, WriteOnAnotherStreamThatDoesNotWaitIsARace) {
  const auto y = x + 1;
  const SideStream side(device);
  x.add_(1);
  EXPECT_FALSE(memory().take_races().empty());
}

TEST_F(FakeDeviceItselfTest, StreamThatWaitsForAnEventIsOrdered) {
  const auto y = x + 1;
  const auto done = event();
  const SideStream side(device);
  done.block(side.stream());
  const auto z = y * 2;
}

TEST_F(FakeDeviceItselfTest, EventOrdersWhatCameBeforeItAlone) {
  const auto done = event();
  const auto y = x + 1;
  const SideStream side(device);
  done.block(side.stream());
  const auto z = y * 2;
  EXPECT_FALSE(memory().take_races().empty());
}

TEST_F(FakeDeviceItselfTest, HostThatWaitsOrdersWhatItEnqueuesThen) {
  const auto y = x + 1;
  synchronize();
  const SideStream side(device);
  const auto z = y * 2;
}

TEST_F(FakeDeviceItselfTest, FreedMemoryIsUsedAgainAtOnce) {
  auto y = x + 1;
  const auto* const data = y.data_ptr();
  y = Tensor();
  EXPECT_EQ((x + 2).data_ptr(), data);
}

// As a missing record_stream shows: the host frees memory that a side stream
// has been told to read, and its own stream gets it.
TEST_F(FakeDeviceItselfTest, ReuseOfMemoryThatAnotherStreamReadsIsARace) {
  auto y = x + 1;
  const auto done = event();
  {
    const SideStream side(device);
    done.block(side.stream());
    const auto z = y * 2;
  }
  y = Tensor();
  const auto other = x + 3;
  const auto races = memory().take_races();
  ASSERT_EQ(races.size(), 1u);
  EXPECT_TRUE(Mentions(races[0], {"aten::add", "writes", "aten::mul"}));
}

TEST_F(FakeDeviceItselfTest, MemoryThatWasRecordedOnAStreamWaitsForIt) {
  auto y = x + 1;
  const auto* const data = y.data_ptr();
  const auto done = event();
  {
    const SideStream side(device);
    done.block(side.stream());
    const auto z = y * 2;
    y.record_stream(side.stream());
  }
  y = Tensor();
  const auto before = x + 3;
  EXPECT_NE(before.data_ptr(), data);
  timeline().advance_to_the_end();
  EXPECT_EQ((x + 3).data_ptr(), data);
}

TEST_F(FakeDeviceItselfTest, NumberArrivesOnTheHostOnceItsEventIsComplete) {
  const auto host = x.sum().to(at::kCPU, /*non_blocking=*/true);
  const auto copied = event();
  EXPECT_FALSE(copied.query());
  EXPECT_TRUE(std::isnan(host.item<double>()));
  timeline().advance_to_the_end();
  EXPECT_TRUE(copied.query());
  EXPECT_EQ(host.item<double>(), 4);
}

TEST_F(FakeDeviceItselfTest, CountsHowOftenTheHostWaits) {
  EXPECT_EQ(waits_of([&] { x.add(1).to(at::kCPU, true); }), 0);
  EXPECT_EQ(waits_of([&] { x.cpu(); }), 1);
  EXPECT_EQ(waits_of([&] { x.sum().item(); }), 1);
  EXPECT_EQ(waits_of([&] { x.equal(x); }), 1);
  EXPECT_EQ(waits_of([&] { synchronize(); }), 1);
}

TEST_F(FakeDeviceItselfTest, CaptureIsPoisonedByWhatMayNotBeAsked) {
  const auto before = event();
  const auto poison = [&](const std::function<void()>& fn) {
    timeline().begin_capture(lane_of(current()));
    fn();
    timeline().end_capture();
    return !timeline().take_faults().empty();
  };
  EXPECT_FALSE(poison([&] { x.add(1).mul(2); }));
  EXPECT_TRUE(poison([&] { before.query(); }));
  EXPECT_TRUE(poison([&] { synchronize(); }));
  EXPECT_TRUE(poison([&] { x.sum().item(); }));
  EXPECT_TRUE(poison([&] { before.block(current()); }));
}

TEST_F(FakeDeviceItselfTest, StreamThatWaitsForACaptureBelongsToIt) {
  timeline().begin_capture(lane_of(current()));
  const auto captured = event();
  const SideStream side(device);
  captured.block(side.stream());
  EXPECT_TRUE(timeline().is_captured(lane_of(side.stream())));
  timeline().end_capture();
  EXPECT_TRUE(timeline().take_faults().empty());
  captured.query();
  EXPECT_FALSE(timeline().take_faults().empty());
}

TEST_F(FakeDeviceItselfTest, GeneratorsAreItsOwn) {
  torch::manual_seed(3);
  const Tensor cpu = generator_of(at::kCPU).get_state();
  const auto first = torch::rand({4}, torch::device(device));
  EXPECT_TRUE(BitEqual(generator_of(at::kCPU).get_state(), cpu));
  torch::manual_seed(3);
  EXPECT_TRUE(BitEqual(torch::rand({4}, torch::device(device)), first));
  EXPECT_FALSE(BitEqual(torch::dropout(x, 0.5, true), x));
}

TEST_F(FakeDeviceItselfTest, BackwardRunsInAThreadOfTheDevice) {
  auto leaf = x.clone().requires_grad_();
  std::thread::id thread;
  auto y = leaf * 2;
  y.register_hook(
      [&thread](const Tensor&) { thread = std::this_thread::get_id(); });
  y.sum().backward();
  EXPECT_NE(thread, std::this_thread::get_id());
}

TEST_F(FakeDeviceItselfTest, DevicesCopyToEachOther) {
  const auto there = x.to(accelerator(1));
  EXPECT_EQ(there.device(), accelerator(1));
  EXPECT_EQ(waits_of([&] { x.to(accelerator(2)); }), 0);
  EXPECT_TRUE(BitEqual(there.cpu(), x.cpu()));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
