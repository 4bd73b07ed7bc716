#include "measure/byte_meter.h"

namespace torchrev {
namespace detail {

void ByteMeter::reportMemoryUsage(
    void* /*data*/,
    int64_t bytes,
    Total /*allocated*/,
    Total /*reserved*/,
    c10::Device device) {
  if (device != device_) {
    return;
  }
  const auto now = live_ += bytes;
  auto peak = peak_.load();
  while (now > peak && !peak_.compare_exchange_weak(peak, now)) {
  }
}

}  // namespace detail
}  // namespace torchrev
