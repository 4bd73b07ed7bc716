#include "device/capabilities.h"

#include "support/support.h"

// The one table of what differs between accelerators.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::has_generator;
using detail::has_streams;

TEST(CapabilitiesTest, CpuHasNeitherStreamsNorAGeneratorOfItsOwn) {
  EXPECT_FALSE(has_streams(at::kCPU));
  EXPECT_FALSE(has_generator(at::kCPU));
}

TEST(CapabilitiesTest, AcceleratorsWithQueuesHaveBoth) {
  for (const auto type : {at::kCUDA, at::kXPU, at::kPrivateUse1}) {
    EXPECT_TRUE(has_streams(type)) << type;
    EXPECT_TRUE(has_generator(type)) << type;
  }
}

TEST(CapabilitiesTest, MpsHasAGeneratorAndOneQueue) {
  EXPECT_FALSE(has_streams(at::kMPS));
  EXPECT_TRUE(has_generator(at::kMPS));
}

TEST(CapabilitiesTest, DeviceThatIsNotInTheTableCountsAsTheCpuDoes) {
  for (const auto type : {at::kMeta, at::kHPU, at::kXLA}) {
    EXPECT_FALSE(has_streams(type)) << type;
    EXPECT_FALSE(has_generator(type)) << type;
  }
}

TEST(CapabilitiesTest, IndexOfADeviceDoesNotMatter) {
  EXPECT_TRUE(has_streams({at::kCUDA, 3}));
  EXPECT_TRUE(has_generator({at::kCUDA, 3}));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
