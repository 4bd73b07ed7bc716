#pragma once

#include <ATen/record_function.h>
#include <c10/core/Allocator.h>

#include <atomic>
#include <memory>

namespace torchrev {
namespace detail {

template <typename T>
T total_of(
    void (c10::MemoryReportingInfoBase::*)(void*, int64_t, T, T, c10::Device));

// Counts the bytes that allocators report while it is the debug info of a
// thread. The engine hands debug info on to the threads in which backward runs.
class ByteMeter final : public c10::MemoryReportingInfoBase {
 public:
  // int64_t or size_t, depending on the release.
  using Total =
      decltype(total_of(&c10::MemoryReportingInfoBase::reportMemoryUsage));

  explicit ByteMeter(c10::Device device) : device_(device) {}

  void reportMemoryUsage(
      void* data,
      int64_t bytes,
      Total allocated,
      Total reserved,
      c10::Device device) override;
  bool memoryProfilingEnabled() const override {
    return true;
  }

  // Allocated since construction and not freed, now and at the most.
  int64_t live() const {
    return live_;
  }
  int64_t peak() const {
    return peak_;
  }

 private:
  c10::Device device_;
  std::atomic<int64_t> live_{0};
  std::atomic<int64_t> peak_{0};
};

// While it lives, allocations are reported to `meter`, and operators to nobody:
// a profiler would take the meter for its own state.
class Metering {
 public:
  explicit Metering(std::shared_ptr<ByteMeter> meter)
      : reports_(c10::DebugInfoKind::PROFILER_STATE, std::move(meter)) {}

 private:
  at::DisableRecordFunctionGuard no_profiler_;
  c10::DebugInfoGuard reports_;
};

}  // namespace detail
}  // namespace torchrev
