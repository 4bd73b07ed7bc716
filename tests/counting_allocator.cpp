#include "support.h"

#include <c10/core/Allocator.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

namespace torchrev {
namespace test {
namespace {

// LibTorch aligns CPU tensors to 64 bytes; a block's size precedes it.
constexpr std::size_t kPrefix = 64;

std::atomic<int64_t> live_bytes{0};
std::atomic<int64_t> peak_bytes{0};

void count(int64_t bytes) {
  const int64_t now = live_bytes += bytes;
  int64_t peak = peak_bytes;
  while (now > peak && !peak_bytes.compare_exchange_weak(peak, now)) {
  }
}

// As LibTorch's own allocators do, to whoever listens in this thread.
void report(void* data, int64_t bytes) {
  c10::reportMemoryUsageToProfiler(
      data, bytes, live_bytes, /*total_reserved=*/0, c10::Device(c10::kCPU));
}

void release(void* data) {
  if (data == nullptr) {
    return;
  }
  char* block = static_cast<char*>(data) - kPrefix;
  const auto bytes = *reinterpret_cast<int64_t*>(block);
  count(-bytes);
  report(data, -bytes);
  std::free(block);
}

// DataPtr's context has to be its data: LibTorch refuses to resize or to share
// the memory otherwise.
c10::DataPtr acquire(std::size_t bytes) {
  if (bytes == 0) {
    return {nullptr, nullptr, &release, c10::Device(c10::kCPU)};
  }
  void* block = nullptr;
  if (posix_memalign(&block, kPrefix, bytes + kPrefix) != 0) {
    throw std::bad_alloc();
  }
  *static_cast<int64_t*>(block) = static_cast<int64_t>(bytes);
  count(static_cast<int64_t>(bytes));
  void* data = static_cast<char*>(block) + kPrefix;
  report(data, static_cast<int64_t>(bytes));
  return {data, data, &release, c10::Device(c10::kCPU)};
}

class CountingAllocator final : public c10::Allocator {
 public:
  c10::DeleterFnPtr raw_deleter() const override {
    return &release;
  }
  // Not marked override: which of these three LibTorch's Allocator declares
  // depends on its release.
  c10::DataPtr allocate(std::size_t bytes) {
    return acquire(bytes);
  }
  c10::DataPtr allocate(std::size_t bytes) const {
    return acquire(bytes);
  }
  void copy_data(void* to, const void* from, std::size_t bytes) const {
    std::memcpy(to, from, bytes);
  }
};

CountingAllocator allocator;

const bool installed = [] {
  constexpr uint8_t kHighestPriority = 255;
  c10::SetAllocator(c10::kCPU, &allocator, kHighestPriority);
  return true;
}();

}  // namespace

int64_t MemoryMeter::live() {
  return live_bytes;
}

int64_t MemoryMeter::peak() {
  return peak_bytes;
}

void MemoryMeter::reset() {
  peak_bytes = live_bytes.load();
}

}  // namespace test
}  // namespace torchrev
