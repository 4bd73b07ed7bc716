#include "relay.h"

#include "compat.h"

namespace torchrev {
namespace detail {

void Relay::observe(std::shared_ptr<StreamObserver> observer) {
  observer_ = std::move(observer);
}

void Relay::in_forward(int64_t step, const StreamPair& pair) {
  if (observer_) {
    observer_->in_forward(step, pair);
  }
}

void Relay::begin(int64_t step, StreamPair pair, bool keeps_graph) {
  const auto slot = slot_of_pass();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    slot->observer = keeps_graph ? observer_ : std::move(observer_);
  }
  put(*slot, step, std::move(pair));
}

void Relay::put(int64_t step, StreamPair pair) {
  const auto slot = slot_of_pass();
  if (slot->observer) {
    slot->observer->rebuilt(step + 1, pair);
  }
  put(*slot, step, std::move(pair));
}

void Relay::put(Slot& slot, int64_t step, StreamPair pair) {
  slot.step = step;
  slot.handovers = {Handover(pair[0]), Handover(pair[1])};
  slot.pair = std::move(pair);
}

StreamPair Relay::take(int64_t step) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = slots_.find(compat::current_pass_id());
  const auto slot = found == slots_.end() ? nullptr : found->second.lock();
  if (!slot || slot->step != step) {
    return {};
  }
  for (std::size_t i = 0; i < slot->pair.size(); ++i) {
    slot->handovers[i].receive(slot->pair[i]);
  }
  return std::exchange(slot->pair, {});
}

std::shared_ptr<Relay::Slot> Relay::slot_of_pass() {
  std::lock_guard<std::mutex> lock(mutex_);
  auto& entry = slots_[compat::current_pass_id()];
  auto slot = entry.lock();
  if (!slot) {
    slot = std::make_shared<Slot>();
    entry = slot;
    // The callback does nothing when it is called: that it is destroyed with
    // the pass, also when the pass fails, is what it is for.
    torch::autograd::Engine::get_default_engine().queue_callback(
        [slot] { slot->pair = {}; });
    for (auto it = slots_.begin(); it != slots_.end();) {
      it = it->second.expired() ? slots_.erase(it) : std::next(it);
    }
  }
  return slot;
}

}  // namespace detail
}  // namespace torchrev
