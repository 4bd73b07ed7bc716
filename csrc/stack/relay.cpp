#include "stack/relay.h"

#include "compat.h"
#include "device/capabilities.h"
#include "stack/step_order.h"

namespace torchrev {
namespace detail {

void Relay::observe(std::shared_ptr<StreamObserver> observer) {
  observer_ = std::move(observer);
}

void Relay::in_forward(int64_t block, const StreamPair& pair) {
  if (observer_) {
    observer_->in_forward(block, pair);
  }
}

void Relay::Slot::hold(const StepId& for_step, StreamPair new_pair) {
  step = for_step;
  pair = HandedPair(std::move(new_pair));
}

void Relay::begin(const StepId& step, StreamPair pair, bool keeps_graph) {
  const auto slot = slot_of_pass();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    slot->observer = keeps_graph ? observer_ : std::move(observer_);
  }
  slot->hold(step, std::move(pair));
}

void Relay::put(const StepId& step, StreamPair pair) {
  const auto slot = slot_of_pass();
  // A pair that is for the last step of a block is between two blocks.
  if (slot->observer && step.role == roles_in_order(direction_)[1]) {
    slot->observer->rebuilt(pair_after(step.block, direction_), pair);
  }
  slot->hold(step, std::move(pair));
}

void Relay::Slot::note(Handover new_work) {
  for (auto& known : work) {
    if (known.is_of_stream_of(new_work)) {
      known = std::move(new_work);
      return;
    }
  }
  work.push_back(std::move(new_work));
}

void Relay::note_work(const c10::Device& device) {
  if (has_streams(device)) {
    slot_of_pass()->note(Handover(device));
  }
}

StreamPair Relay::take(const StepId& step) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = slots_.find(compat::current_pass_id());
  const auto slot = found == slots_.end() ? nullptr : found->second.lock();
  if (!slot || slot->step != step) {
    return {};
  }
  return slot->pair.take();
}

std::shared_ptr<Relay::Slot> Relay::slot_of_pass() {
  std::lock_guard<std::mutex> lock(mutex_);
  auto& entry = slots_[compat::current_pass_id()];
  auto slot = entry.lock();
  if (!slot) {
    slot = std::make_shared<Slot>();
    entry = slot;
    // The engine keeps callbacks until the pass ends, whether it succeeds or
    // fails. This one owns the slot, so the pair is freed then; being called at
    // the end of a pass that succeeds, it frees the pair a little sooner. The
    // streams of the caller are the current ones then.
    torch::autograd::Engine::get_default_engine().queue_callback([slot] {
      slot->pair = {};
      for (const auto& work : slot->work) {
        work.wait();
      }
      if (slot->observer) {
        slot->observer->pass_ended();
      }
    });
    for (auto it = slots_.begin(); it != slots_.end();) {
      it = it->second.expired() ? slots_.erase(it) : std::next(it);
    }
  }
  return slot;
}

}  // namespace detail
}  // namespace torchrev
