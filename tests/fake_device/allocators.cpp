#include <c10/core/CPUAllocator.h>

#include <mutex>
#include <set>

#include "fake_device/guard.h"
#include "fake_device/memory.h"

namespace torchrev {
namespace test {

namespace {

void free_fake(void* data) {
  Memory::instance().free(data);
}

// What releases declare otherwise.
class AnyAllocator : public c10::Allocator {
 public:
#if TORCHREV_FAKE_IS_PRIVATE_USE
  c10::DataPtr allocate(std::size_t bytes) override {
    return allocated(bytes);
  }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
#else
  c10::DataPtr allocate(std::size_t bytes) const override {
    return allocated(bytes);
  }
#endif

 private:
  virtual c10::DataPtr allocated(std::size_t bytes) const = 0;
};

class FakeAllocator final : public AnyAllocator {
 public:
  c10::DeleterFnPtr raw_deleter() const override {
    return &free_fake;
  }

 private:
  c10::DataPtr allocated(std::size_t bytes) const override {
    const auto device = resolved(c10::Device(kFake));
    note_use(device.index());
    if (bytes == 0) {
      return {nullptr, device};
    }
    auto* const data = Memory::instance().allocate(bytes, current_lane(device));
    return {data, data, &free_fake, device};
  }
};

std::mutex pinned_mutex;
std::set<const void*>& pinned() {
  static auto* const blocks = new std::set<const void*>;
  return *blocks;
}

struct Pinned {
  c10::DataPtr memory;
};

void free_pinned(void* context) {
  const std::unique_ptr<Pinned> block(static_cast<Pinned*>(context));
  const std::lock_guard<std::mutex> lock(pinned_mutex);
  pinned().erase(block->memory.get());
}

class PinnedAllocator final : public AnyAllocator {
 private:
  c10::DataPtr allocated(std::size_t bytes) const override {
    auto block = std::make_unique<Pinned>();
    block->memory = c10::GetCPUAllocator()->allocate(bytes);
    auto* const data = block->memory.get();
    const std::lock_guard<std::mutex> lock(pinned_mutex);
    pinned().insert(data);
    return {data, block.release(), &free_pinned, c10::Device(c10::kCPU)};
  }
};

}  // namespace

c10::Allocator& fake_allocator() {
  static auto* const allocator = new FakeAllocator;
  return *allocator;
}

c10::Allocator& pinned_allocator() {
  static auto* const allocator = new PinnedAllocator;
  return *allocator;
}

bool is_pinned(const void* data) {
  const std::lock_guard<std::mutex> lock(pinned_mutex);
  return pinned().count(data) > 0;
}

}  // namespace test
}  // namespace torchrev
