#include "examples/memory_meter.h"
#include "support/support.h"

namespace torchrev {
namespace test {
namespace {

// From the start of the program.
auto& meter = torchrev_examples::MemoryMeter::install();

}  // namespace

int64_t MemoryMeter::live() {
  return meter.live();
}

int64_t MemoryMeter::peak() {
  return meter.peak();
}

void MemoryMeter::reset() {
  meter.reset_peak();
}

}  // namespace test
}  // namespace torchrev
