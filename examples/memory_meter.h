#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace torchrev_examples {

/// Counts the bytes of all CPU tensors of the process, to the byte: what they
/// asked for, not what an allocator's rounding or the resident set makes of it.
///
/// Every block is preceded by a prefix that holds its size, so that freeing
/// needs nothing but the pointer, and the pointer is its own DataPtr context.
///
/// Thread-safety: all members may be called from any thread. `peak()` is the
/// largest value that `live()` had since `reset_peak()`; `allocations()` counts
/// those of the process, empty ones left out.
///
/// Example:
/// ```
/// auto& meter = torchrev_examples::MemoryMeter::install();
/// const auto before = meter.live();
/// meter.reset_peak();
/// loss(model->forward(x)).backward();
/// auto bytes_of_the_step = meter.peak() - before;
/// ```
class MemoryMeter final : public c10::Allocator {
 public:
  /// Allocates CPU tensors from now on; older ones stay uncounted. Calls after
  /// the first have no effect.
  static MemoryMeter& install() {
    static const bool installed = [] {
      c10::SetAllocator(c10::kCPU, &instance(), /*priority=*/255);
      return true;
    }();
    (void)installed;
    return instance();
  }

  int64_t live() const noexcept {
    return live_.load();
  }

  int64_t peak() const noexcept {
    return peak_.load();
  }

  void reset_peak() noexcept {
    peak_.store(live_.load());
  }

  int64_t allocations() const noexcept {
    return allocations_.load();
  }

  // These override c10::Allocator without saying so: `allocate` is const in
  // old releases only, `copy_data` exists in new ones only.
  c10::DataPtr allocate(std::size_t bytes) {
    return acquire(bytes);
  }

  c10::DataPtr allocate(std::size_t bytes) const {
    return instance().acquire(bytes);
  }

  void copy_data(void* to, const void* from, std::size_t bytes) const {
    std::memcpy(to, from, bytes);
  }

  c10::DeleterFnPtr raw_deleter() const {
    return &release;
  }

 private:
  /// Also the size of the prefix, which keeps the block behind it aligned.
  static constexpr std::size_t kAlignment = 64;

  MemoryMeter() = default;

  /// Never destroyed: tensors with static storage duration outlive everything.
  static MemoryMeter& instance() {
    static auto* const meter = new MemoryMeter;
    return *meter;
  }

  c10::DataPtr acquire(std::size_t bytes) {
    if (bytes == 0) {
      return {nullptr, nullptr, &release, c10::Device(c10::kCPU)};
    }
    void* prefix = nullptr;
    if (posix_memalign(&prefix, kAlignment, kAlignment + bytes) != 0) {
      throw std::bad_alloc();
    }
    std::memcpy(prefix, &bytes, sizeof(bytes));
    void* const data = static_cast<char*>(prefix) + kAlignment;
    count(static_cast<int64_t>(bytes));
    c10::profiledCPUMemoryReporter().New(data, bytes);
    return {data, data, &release, c10::Device(c10::kCPU)};
  }

  static void release(void* data) {
    if (data == nullptr) {
      return;
    }
    c10::profiledCPUMemoryReporter().Delete(data);
    void* const prefix = static_cast<char*>(data) - kAlignment;
    std::size_t bytes = 0;
    std::memcpy(&bytes, prefix, sizeof(bytes));
    instance().live_ -= static_cast<int64_t>(bytes);
    std::free(prefix);
  }

  void count(int64_t bytes) noexcept {
    ++allocations_;
    const auto now = live_ += bytes;
    auto top = peak_.load();
    while (now > top && !peak_.compare_exchange_weak(top, now)) {
    }
  }

  std::atomic<int64_t> live_{0};
  std::atomic<int64_t> peak_{0};
  std::atomic<int64_t> allocations_{0};
};

}  // namespace torchrev_examples
