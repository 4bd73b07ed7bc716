#pragma once

#include <torchrev/branch.h>

#include "recompute/call_record.h"
#include "recompute/replay.h"
#include "support/support.h"

namespace torchrev {
namespace test {

/// Calls of branches over `x`, recorded as F of block 3 of `entry`.
class CallRecordFixture : public testing::Test {
 protected:
  static constexpr int64_t kWidth = 4;
  /// Of a buffer, in elements: more than 1 MiB.
  static constexpr int64_t kLarge = (int64_t(1) << 17) + 1;

  static Branch over_buffer(
      const Tensor& buffer, std::function<Tensor(Tensor)> fn) {
    return Branch::function(
        [fn](const Tensor& x, auto, auto) { return fn(x); }, {}, {buffer});
  }

  Tensor call(detail::CallRecord& record) const {
    auto value = record.run(x, {}, {});
    record.settle();
    return value;
  }
  Tensor replay(const detail::CallRecord& record) const {
    return detail::Replay(record)(x, {}, {});
  }

  const detail::Place place = {"entry", StepId{3, Role::kF}};
  Tensor x = torch::randn({3, kWidth});
};

}  // namespace test
}  // namespace torchrev
