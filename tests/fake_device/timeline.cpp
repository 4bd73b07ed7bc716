#include "fake_device/timeline.h"

#include <algorithm>

#include "fake_device/releases.h"

namespace torchrev {
namespace test {

namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

// Old releases wait for an event by asking again and again.
constexpr int64_t kTicksOfAQuery = TORCHREV_FAKE_IS_PRIVATE_USE ? 0 : 1;

}  // namespace

std::string name_of(const Lane& lane) {
  return "stream " + std::to_string(lane.second) + " of device " +
         std::to_string(lane.first);
}

void Ordering::join(const Ordering& other) {
  for (const auto& [lane, number] : other.done_) {
    auto& mine = done_[lane];
    mine = std::max(mine, number);
  }
}

bool Ordering::covers(const Lane& lane, int64_t number) const {
  const auto found = done_.find(lane);
  return found != done_.end() && found->second >= number;
}

// Never destroyed: tensors of static duration may outlive it.
Timeline& Timeline::instance() {
  static auto* const timeline = new Timeline;
  return *timeline;
}

Work Timeline::enqueue(const Lane& lane) {
  const Lock lock(mutex_);
  auto& state = lanes_[lane];
  state.order.join(host_);
  const auto number = state.order.next(lane);
  state.done = std::max(state.done, now_) + 1;
  return {lane, number, state.order, state.done};
}

void Timeline::at(int64_t time, std::function<void()> fn) {
  const Lock lock(mutex_);
  later_.emplace(time, std::move(fn));
}

Mark Timeline::record(const Lane& lane) {
  const auto work = enqueue(lane);
  return {work.order, work.done, is_captured(lane)};
}

void Timeline::block(const Mark& mark, const Lane& lane) {
  const Lock lock(mutex_);
  if (mark.captured && !captured_.empty()) {
    captured_.insert(lane);
  } else if (captured_.count(lane)) {
    fault(name_of(lane) + " was told to wait for what was not captured");
  }
  auto& state = lanes_[lane];
  state.order.join(mark.order);
  state.done = std::max(state.done, mark.done);
}

bool Timeline::query(const Mark& mark) {
  const Lock lock(mutex_);
  check_asked(mark);
  if (mark.done > now_) {
    pass_to(now_ + kTicksOfAQuery);
    return false;
  }
  host_.join(mark.order);
  return true;
}

void Timeline::check_asked(const Mark& mark) {
  if (!captured_.empty() || mark.captured) {
    fault("an event was asked in a capture, or is one of a capture");
  }
}

void Timeline::wait(const Mark& mark) {
  const Lock lock(mutex_);
  check_asked(mark);
  host_waits(mark.order, mark.done, "an event");
}

void Timeline::wait(const Lane& lane) {
  const Lock lock(mutex_);
  auto& state = lanes_[lane];
  host_waits(state.order, state.done, "a stream");
}

void Timeline::wait_for_all() {
  const Lock lock(mutex_);
  Ordering order;
  auto done = now_;
  for (const auto& [lane, state] : lanes_) {
    order.join(state.order);
    done = std::max(done, state.done);
  }
  host_waits(order, done, "all devices");
}

void Timeline::host_waits(
    const Ordering& order, int64_t until, const char* for_what) {
  const Lock lock(mutex_);
  if (!captured_.empty()) {
    fault(std::string("the host waited in a capture for ") + for_what);
  }
  ++waits_;
  host_.join(order);
  pass_to(std::max(now_, until));
}

int64_t Timeline::waits() const {
  const Lock lock(mutex_);
  return waits_;
}

int64_t Timeline::now() const {
  const Lock lock(mutex_);
  return now_;
}

int64_t Timeline::done(const Lane& lane) const {
  const Lock lock(mutex_);
  const auto found = lanes_.find(lane);
  return found == lanes_.end() ? 0 : found->second.done;
}

void Timeline::advance(int64_t ticks) {
  const Lock lock(mutex_);
  pass_to(now_ + ticks);
}

void Timeline::advance_to_the_end() {
  const Lock lock(mutex_);
  auto end = now_;
  for (const auto& [lane, state] : lanes_) {
    end = std::max(end, state.done);
  }
  pass_to(end);
}

void Timeline::pass_to(int64_t time) {
  now_ = time;
  while (!later_.empty() && later_.begin()->first <= now_) {
    const auto fn = std::move(later_.begin()->second);
    later_.erase(later_.begin());
    fn();
  }
}

void Timeline::begin_capture(const Lane& lane) {
  const Lock lock(mutex_);
  captured_ = {lane};
}

void Timeline::end_capture() {
  const Lock lock(mutex_);
  captured_.clear();
}

bool Timeline::is_captured(const Lane& lane) const {
  const Lock lock(mutex_);
  return captured_.count(lane) > 0;
}

std::vector<std::string> Timeline::take_faults() {
  const Lock lock(mutex_);
  return std::exchange(faults_, {});
}

void Timeline::fault(const std::string& reason) {
  faults_.push_back(reason);
}

}  // namespace test
}  // namespace torchrev
