#include "device/handover.h"

#include "device/recording_device.h"
#include "support/support.h"

// Orders what one stream of a device writes before what another reads.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::Handover;

TEST(HandoverTest, DoesNothingOnTheCpu) {
  const auto tensor = torch::ones({3});
  const auto version = tensor._version();
  const auto holders = tensor.use_count();
  const Handover handover(tensor);
  EXPECT_NO_THROW(handover.receive(tensor));
  EXPECT_EQ(tensor._version(), version);
  EXPECT_EQ(tensor.use_count(), holders);
}

TEST(HandoverTest, DoesNothingForAnUndefinedTensor) {
  EXPECT_NO_THROW(Handover(Tensor()).receive(Tensor()));
  EXPECT_NO_THROW(Handover().receive(Tensor()));
}

TEST(HandoverTest, NotesTheStreamOnWhichTheTensorWasWritten) {
  RecordingDevice device;
  device.use_stream(1);
  const Handover handover(device.tensor());
  EXPECT_EQ(device.log(), (Log{"record on 1"}));
}

TEST(HandoverTest, AnotherStreamWaitsAndKeepsTheMemory) {
  RecordingDevice device;
  const auto tensor = device.tensor();
  device.use_stream(1);
  const Handover handover(tensor);
  device.use_stream(2);
  handover.receive(tensor);
  EXPECT_EQ(
      device.log(),
      (Log{"record on 1", "2 waits for 1", "memory is in use on 2"}));
}

// Its memory may belong to a third one.
TEST(HandoverTest, TheSameStreamNeedNotWait) {
  RecordingDevice device;
  const auto tensor = device.tensor();
  const Handover handover(tensor);
  handover.receive(tensor);
  EXPECT_EQ(device.log(), (Log{"record on 0", "memory is in use on 0"}));
}

TEST(HandoverTest, CopiesShareWhatWasNoted) {
  RecordingDevice device;
  const auto tensor = device.tensor();
  device.use_stream(1);
  Handover copy;
  copy = Handover(tensor);
  device.use_stream(2);
  copy.receive(tensor);
  EXPECT_EQ(device.log().size(), 3u);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
