#include "compat.h"
#include "fake_device/accelerator.h"

// Autocast of every device type is replayed.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 8;

namespace compat = detail::compat;

// Autocast of one device type for as long as it lives.
class DeviceAutocast {
 public:
  DeviceAutocast(c10::DeviceType type, at::ScalarType dtype)
      : type_(type),
        enabled_(compat::is_autocast_enabled(type)),
        dtype_(compat::autocast_dtype(type)) {
    compat::set_autocast_enabled(type, true);
    compat::set_autocast_dtype(type, dtype);
  }
  ~DeviceAutocast() {
    compat::set_autocast_enabled(type_, enabled_);
    compat::set_autocast_dtype(type_, dtype_);
  }

 private:
  c10::DeviceType type_;
  bool enabled_;
  at::ScalarType dtype_;
};

class DeviceAutocastTest : public AcceleratorTest {
 protected:
  // Notes what it sees.
  Branch observer() {
    return Branch::function(
        [this](const Tensor& x, at::TensorList, at::TensorList) {
          enabled.push_back(compat::is_autocast_enabled(device.type()));
          dtypes.push_back(compat::autocast_dtype(device.type()));
          return x.tanh();
        });
  }
  void expect_seen_in_a_step(const Inputs& in) {
    const Blocks blocks{{observer(), observer()}};
    Tensor loss;
    {
      const DeviceAutocast autocast(device.type(), at::kBFloat16);
      const auto [y1, y2] = reversible_sequence(blocks, in.x1, in.x2);
      loss = weighted_sum({y1, y2});
    }
    const auto forward = enabled.size();
    loss.backward();
    EXPECT_EQ(enabled.size(), forward + 2);
    EXPECT_EQ(enabled, std::vector<bool>(enabled.size(), true));
    EXPECT_EQ(
        dtypes, std::vector<at::ScalarType>(dtypes.size(), at::kBFloat16));
  }

  std::vector<bool> enabled;
  std::vector<at::ScalarType> dtypes;
};

TEST_F(DeviceAutocastTest, IsThatOfForwardForStreamsOnTheDevice) {
  expect_seen_in_a_step(on_accelerator(random_inputs({4, kWidth})));
}

// An offloaded branch.
TEST_F(DeviceAutocastTest, IsThatOfForwardForStreamsOnTheCpu) {
  expect_seen_in_a_step(random_inputs({4, kWidth}));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
