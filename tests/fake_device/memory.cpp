#include "fake_device/memory.h"

#include <torch/csrc/autograd/function.h>
#include <torch/version.h>

#include <cstdlib>
#include <cstring>

namespace torchrev {
namespace test {

namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

std::recursive_mutex& mutex() {
  return Timeline::instance().mutex();
}

// An operator, and the node whose backward runs it, where the release tells.
std::string in_node(const std::string& name) {
#if TORCH_VERSION_MAJOR > 2 || \
    (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
  if (const auto node = torch::autograd::get_current_node()) {
    return name + " in " + node->name();
  }
#endif
  return name;
}

// As large as what CUDA's allocator hands out at least.
constexpr std::size_t kUnit = 512;

}  // namespace

Memory& Memory::instance() {
  static auto* const memory = new Memory;
  return *memory;
}

void* Memory::allocate(std::size_t bytes, const Lane& lane) {
  const Lock lock(mutex());
  bytes = (bytes + kUnit - 1) / kUnit * kUnit;
  auto* data = reused(bytes, lane);
  if (!data) {
    data = std::aligned_alloc(kUnit, bytes);
    blocks_[data] = {bytes, lane};
  }
  // Not a number, as float and as double: who reads it shows.
  std::memset(data, 0xFF, bytes);
  live_bytes_ += static_cast<int64_t>(bytes);
  return data;
}

void* Memory::reused(std::size_t bytes, const Lane& lane) {
  const auto now = Timeline::instance().now();
  auto& freed = freed_[{bytes, lane}];
  for (auto i = freed.rbegin(); i != freed.rend(); ++i) {
    auto& block = blocks_.at(*i);
    if (block.free_at > now) {
      continue;
    }
    if (!block.users.empty()) {
      // The allocator has seen that all of them are done.
      block = {bytes, lane};
    }
    block.live = true;
    auto* const data = *i;
    freed.erase(std::next(i).base());
    return data;
  }
  return nullptr;
}

void Memory::free(void* data) {
  const Lock lock(mutex());
  auto& block = blocks_.at(data);
  block.live = false;
  for (const auto& user : block.users) {
    block.free_at = std::max(block.free_at, Timeline::instance().done(user));
  }
  live_bytes_ -= static_cast<int64_t>(block.bytes);
  freed_[{block.bytes, block.owner}].push_back(data);
}

void Memory::record_stream(const void* data, const Lane& lane) {
  const Lock lock(mutex());
  const auto found = blocks_.find(data);
  if (found != blocks_.end() && found->second.owner != lane) {
    found->second.users.insert(lane);
  }
}

void Memory::note_read(
    const void* data, const Work& work, const std::string& name) {
  const Lock lock(mutex());
  const auto found = blocks_.find(data);
  if (found == blocks_.end()) {
    return;
  }
  check(found->second.writes, "written", "reads", work, name);
  found->second.reads[work.lane] = {work.number, in_node(name)};
}

void Memory::note_write(
    const void* data, const Work& work, const std::string& name) {
  const Lock lock(mutex());
  const auto found = blocks_.find(data);
  if (found == blocks_.end()) {
    return;
  }
  auto& block = found->second;
  check(block.writes, "written", "writes", work, name);
  check(block.reads, "read", "writes", work, name);
  block.writes[work.lane] = {work.number, in_node(name)};
}

void Memory::check(
    const std::map<Lane, Access>& earlier,
    const char* did,
    const char* does,
    const Work& work,
    const std::string& name) {
  for (const auto& [lane, access] : earlier) {
    if (lane != work.lane && !work.order.covers(lane, access.number)) {
      races_.push_back(
          in_node(name) + " on " + name_of(work.lane) + " " + does + " what " +
          access.name + " has " + did + " on " + name_of(lane) +
          ", and does not wait for it");
    }
  }
}

std::vector<std::string> Memory::take_races() {
  const Lock lock(mutex());
  return std::exchange(races_, {});
}

int64_t Memory::live_bytes() const {
  const Lock lock(mutex());
  return live_bytes_;
}

}  // namespace test
}  // namespace torchrev
