#include <cstdlib>

#include "device_programs.h"
#include "fake_device/accelerator.h"

namespace torchrev {
namespace test {
namespace differential {
namespace {

// Random programs on the fake device, by one thread and by several.
// Environment:
//   TORCHREV_DEVICE_PROGRAMS         how many; default 100
//   TORCHREV_DEVICE_THREAD_PROGRAMS  how many in threads, each kind; default 0
//   TORCHREV_FIRST_SEED              the seed of the first; default 0
int64_t from_environment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::stoll(text) : otherwise;
}

class DeviceProgramsTest : public FakeDeviceTest {};

TEST_F(DeviceProgramsTest, ComputeWhatPlainAutogradComputes) {
  const auto first = from_environment("TORCHREV_FIRST_SEED", 0);
  const auto count = from_environment("TORCHREV_DEVICE_PROGRAMS", 100);
  for (int64_t seed = first; seed < first + count; ++seed) {
    const auto number = static_cast<uint64_t>(seed);
    const auto found = difference_on_devices(number);
    EXPECT_TRUE(found.empty())
        << for_devices(draw(number)) << "differs from plain autograd:\n"
        << found << "Run it alone with TORCHREV_DEVICE_PROGRAMS=1 "
        << "TORCHREV_FIRST_SEED=" << seed;
  }
}

class DeviceThreadProgramsTest : public FakeDeviceTest,
                                 public testing::WithParamInterface<Sharing> {};

TEST_P(DeviceThreadProgramsTest, ComputeWhatPlainAutogradComputes) {
  const auto first = from_environment("TORCHREV_FIRST_SEED", 0);
  const auto count = from_environment("TORCHREV_DEVICE_THREAD_PROGRAMS", 0);
  const auto placement = in_threads_on_devices();
  for (int64_t seed = first; seed < first + count; ++seed) {
    const auto number = static_cast<uint64_t>(seed);
    const auto found = difference_in_threads(number, GetParam(), placement);
    EXPECT_TRUE(found.empty())
        << placement.adapt(for_threads(draw(number), GetParam()), GetParam(), 0)
        << "differs from plain autograd:\n"
        << found << "Run it alone with TORCHREV_DEVICE_THREAD_PROGRAMS=1 "
        << "TORCHREV_FIRST_SEED=" << seed;
  }
  // Memory that one thread frees while another one is within an operator on the
  // same stream looks like a race: the fake device allocates at its end.
  memory().take_races();
}

INSTANTIATE_TEST_SUITE_P(
    Sharing,
    DeviceThreadProgramsTest,
    testing::Values(Sharing::kNothing, Sharing::kReplicas, Sharing::kModel),
    [](const auto& info) -> std::string {
      return info.param == Sharing::kNothing    ? "nothing"
             : info.param == Sharing::kReplicas ? "replicas"
                                                : "one_model";
    });

}  // namespace
}  // namespace differential
}  // namespace test
}  // namespace torchrev
