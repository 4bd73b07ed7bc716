#include <gtest/gtest.h>
#include <torchrev/version.h>

#include <string>

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

TEST(VersionTest, HeaderAndBuildAgree) {
  const std::string version = std::to_string(TORCHREV_VERSION_MAJOR) + "." +
                              std::to_string(TORCHREV_VERSION_MINOR) + "." +
                              std::to_string(TORCHREV_VERSION_PATCH);
  EXPECT_EQ(version, TORCHREV_TEST_PROJECT_VERSION);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
