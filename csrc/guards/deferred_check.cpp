#include "guards/deferred_check.h"

#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <deque>
#include <memory>
#include <mutex>

#include "device/capabilities.h"

namespace torchrev {
namespace detail {

namespace {

// A number on its way to the host.
struct Pending {
  at::Tensor number;
  c10::Stream stream;
  c10::Event copied;
  Check check;
};

struct Queue {
  std::mutex mutex;
  std::deque<std::unique_ptr<Pending>> pending;
};

// Never destroyed: at the end of a program the device may be gone before.
Queue& queue() {
  static auto* const queue = new Queue;
  return *queue;
}

// The oldest one, if it has arrived or is to be waited for. The lock is held
// for the queue alone: checks throw and user code may call back.
std::unique_ptr<Pending> next(bool wait) {
  auto& [mutex, pending] = queue();
  const std::lock_guard<std::mutex> lock(mutex);
  if (pending.empty() || !(wait || pending.front()->copied.query())) {
    return nullptr;
  }
  auto first = std::move(pending.front());
  pending.pop_front();
  return first;
}

void check_pending(bool wait) {
  while (const auto pending = next(wait)) {
    if (wait) {
      pending->stream.synchronize();
    }
    pending->check(pending->number.item<double>());
  }
}

}  // namespace

void submit_check(const at::Tensor& number, Check check) {
  if (number.is_meta()) {
    return;
  }
  if (!has_streams(number.device())) {
    check(number.item<double>());
    return;
  }
  const auto type = number.device().type();
  const auto stream =
      c10::impl::VirtualGuardImpl(type).getStream(number.device());
  // Into pinned memory.
  auto host = number.to(at::kCPU, /*non_blocking=*/true);
  std::unique_ptr<Pending> check_later(
      new Pending{std::move(host), stream, c10::Event(type), std::move(check)});
  check_later->copied.record(stream);
  auto& [mutex, pending] = queue();
  const std::lock_guard<std::mutex> lock(mutex);
  pending.push_back(std::move(check_later));
}

void check_arrived() {
  check_pending(/*wait=*/false);
}

void check_all() {
  check_pending(/*wait=*/true);
}

}  // namespace detail
}  // namespace torchrev
