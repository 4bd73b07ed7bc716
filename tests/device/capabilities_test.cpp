#include "device/capabilities.h"

#include "compat.h"
#include "device/recording_device.h"
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
  for (const auto type : {at::kCUDA, at::kXPU, at::kHPU}) {
    EXPECT_TRUE(has_streams(type)) << type;
    EXPECT_EQ(has_generator(type), detail::compat::gives_generators(type))
        << type;
  }
}

// LibTorch asks its hooks for generators.
TEST(CapabilitiesTest, PrivateUseHasAGeneratorIfItsHooksAreRegistered) {
  EXPECT_TRUE(has_streams(at::kPrivateUse1));
  EXPECT_EQ(
      has_generator(at::kPrivateUse1),
      detail::compat::gives_generators(at::kPrivateUse1));
}

TEST(CapabilitiesTest, MpsHasAGeneratorAndOneQueue) {
  EXPECT_FALSE(has_streams(at::kMPS));
  EXPECT_EQ(
      has_generator(at::kMPS), detail::compat::gives_generators(at::kMPS));
}

TEST(CapabilitiesTest, DeviceThatIsNotInTheTableCountsAsTheCpuDoes) {
  for (const auto type : {at::kMeta, at::kVulkan, at::kXLA}) {
    EXPECT_FALSE(has_streams(type)) << type;
    EXPECT_FALSE(has_generator(type)) << type;
  }
}

TEST(CapabilitiesTest, NoGeneratorIsInUseWhereThereIsNoAccelerator) {
  for (const auto& device : detail::generators_in_use()) {
    EXPECT_TRUE(c10::impl::hasDeviceGuardImpl(device.type())) << device;
  }
}

TEST(CapabilitiesTest, AutocastIsThatOfTheDeviceTypesOfThisBuild) {
  const auto types = detail::autocast_types();
  EXPECT_EQ(types.front(), at::kCPU);
  for (const auto type : types) {
    EXPECT_TRUE(c10::impl::hasDeviceGuardImpl(type)) << type;
  }
}

// As old backends of users are.
TEST(CapabilitiesTest, BackendThatRegistersNoHooksHasNoGeneratorInUse) {
  const RecordingDevice device;
  EXPECT_TRUE(detail::generators_in_use().empty());
}

TEST(CapabilitiesTest, IndexOfADeviceDoesNotMatter) {
  EXPECT_TRUE(has_streams({at::kCUDA, 3}));
  EXPECT_TRUE(has_generator({at::kCUDA, 3}));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
