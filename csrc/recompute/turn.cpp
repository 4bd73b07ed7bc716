#include "recompute/turn.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

namespace torchrev {
namespace detail {

namespace {

// Of thread-local state: named by the address of a text, in older releases by a
// number, one that LibTorch does not use.
template <typename Kind>
Kind kind_of_depth() {
  if constexpr (std::is_enum_v<Kind>) {
    return static_cast<Kind>(0x72);
  } else {
    static constexpr std::string_view kName = "torchrev turn";
    return Kind(&kName);
  }
}
const auto kKind = kind_of_depth<c10::DebugInfoKind>();

struct Depth : c10::DebugInfoBase {
  explicit Depth(std::size_t depth) : depth(depth) {}
  std::size_t depth;
};

thread_local std::size_t depth_of_thread = 0;

std::size_t depth_here() {
  const auto* info = c10::ThreadLocalDebugInfo::get(kKind);
  const auto given = info ? static_cast<const Depth*>(info)->depth : 0;
  return std::max(given, depth_of_thread);
}

std::timed_mutex& mutex_at(std::size_t depth) {
  static std::mutex mutex;
  static std::deque<std::timed_mutex> all;
  const std::lock_guard<std::mutex> lock(mutex);
  while (all.size() <= depth) {
    all.emplace_back();
  }
  return all[depth];
}

std::unique_lock<std::timed_mutex> lock_at(
    std::size_t depth, const Place& place) {
  constexpr auto kLongest = std::chrono::minutes(1);
  std::unique_lock<std::timed_mutex> lock(mutex_at(depth), kLongest);
  TORCHREV_CHECK(
      ValueError,
      lock.owns_lock(),
      place.entry,
      c10::str("the recompute of ", place, " to get its turn"),
      "another recompute, of another thread, that has not ended in a minute",
      "Draw random numbers and write buffers by operators, which need no "
      "turns.");
  return lock;
}

}  // namespace

Turn::Turn(const Place& place) : Turn(place, depth_here()) {}

Turn::Turn(const Place& place, std::size_t depth)
    : lock_(lock_at(depth, place)),
      depth_before_(std::exchange(depth_of_thread, depth + 1)),
      depth_(kKind, std::make_shared<Depth>(depth + 1)) {}

Turn::~Turn() {
  depth_of_thread = depth_before_;
}

}  // namespace detail
}  // namespace torchrev
