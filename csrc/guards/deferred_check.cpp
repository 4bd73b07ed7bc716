#include "guards/deferred_check.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "branch/branch_facts.h"
#include "check.h"
#include "compat.h"
#include "device/capabilities.h"

namespace torchrev {
namespace detail {

namespace {

c10::Stream current_stream(const c10::Device& device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
}

void throw_together(const std::vector<std::string>& messages) {
  TORCH_CHECK_WITH(ValueError, messages.empty(), c10::Join("\n", messages));
}

// Whether a branch is gone: a module by its address, a function with the last
// Branch that was made of it.
std::function<bool()> expiry_of(const Branch& branch) {
  auto identity = branch.callable().identity();
  if (identity.address) {
    return std::move(identity.expired);
  }
  return [facts = branch.facts().weak_from_this()] { return facts.expired(); };
}

// The checks of all stacks, by their branches. Strangers share the table, not
// what is in it: check_deferred() is for the whole process. Never destroyed: at
// the end of a program a device may be gone before.
class Owners {
 public:
  static Owners& instance() {
    static auto* const owners = new Owners;
    return *owners;
  }

  std::shared_ptr<DeferredChecks> of(at::ArrayRef<BranchPair> blocks) {
    Key key;
    key.reserve(2 * blocks.size());
    for (const auto& block : blocks) {
      key.push_back(&block.f.facts());
      key.push_back(&block.g.facts());
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = owners_.find(key);
    if (found != owners_.end() && !found->second.expired()) {
      return found->second.checks;
    }
    sweep();
    auto checks = std::make_shared<DeferredChecks>();
    owners_[std::move(key)] = {expiry_of(blocks[0].f), checks};
    return checks;
  }

  std::vector<std::shared_ptr<DeferredChecks>> living() {
    const std::lock_guard<std::mutex> lock(mutex_);
    sweep();
    std::vector<std::shared_ptr<DeferredChecks>> living;
    for (const auto& [key, owner] : owners_) {
      living.push_back(owner.checks);
    }
    return living;
  }

 private:
  using Key = std::vector<const void*>;
  struct Owner {
    std::function<bool()> expired;
    std::shared_ptr<DeferredChecks> checks;
  };

  void sweep() {
    for (auto item = owners_.begin(); item != owners_.end();) {
      item = item->second.expired() ? owners_.erase(item) : std::next(item);
    }
  }

  std::mutex mutex_;
  std::map<Key, Owner> owners_;
};

}  // namespace

std::shared_ptr<DeferredChecks> DeferredChecks::of(
    at::ArrayRef<BranchPair> blocks, const c10::Device& device) {
  return has_streams(device) ? Owners::instance().of(blocks) : nullptr;
}

void DeferredChecks::submit(const at::Tensor& number, Check check) {
  const auto stream = current_stream(number.device());
  if (compat::is_capturing(stream)) {
    return;
  }
  // Into pinned memory.
  Pending pending{
      number.to(at::kCPU, /*non_blocking=*/true),
      c10::Event(number.device().type()),
      std::move(check),
      0};
  pending.copied.record(stream);
  const std::lock_guard<std::mutex> lock(mutex_);
  pending.run = run_;
  pending_.push_back(std::move(pending));
}

void DeferredChecks::end_run() {
  throw_together(judge(take_arrived()));
}

bool DeferredChecks::has_arrived(const Pending& pending) {
  return !is_captured(pending) && pending.copied.query();
}

bool DeferredChecks::is_captured(const Pending& pending) {
  return compat::is_capturing(current_stream(pending.copied.device()));
}

DeferredChecks::Queue DeferredChecks::take_arrived() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++run_;
  // Of whole runs.
  auto end = pending_.begin();
  auto it = pending_.begin();
  while (it != pending_.end() && has_arrived(*it)) {
    const auto run = it->run;
    ++it;
    if (it == pending_.end() || it->run != run) {
      end = it;
    }
  }
  Queue arrived(
      std::make_move_iterator(pending_.begin()), std::make_move_iterator(end));
  pending_.erase(pending_.begin(), end);
  return arrived;
}

std::vector<std::string> DeferredChecks::wait() {
  Queue all;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    TORCHREV_CHECK(
        ValueError,
        pending_.empty() || !is_captured(pending_.front()),
        "check_deferred",
        "a stream that runs what it is given",
        "one that is captured (a CUDA graph), for which nobody may wait",
        "Call it before or after the capture.");
    all = std::exchange(pending_, {});
  }
  for (const auto& pending : all) {
    compat::wait_for(pending.copied);
  }
  return judge(all);
}

std::vector<std::string> DeferredChecks::judge(const Queue& checks) {
  std::vector<std::string> messages;
  for (const auto& pending : checks) {
    try {
      pending.check(pending.number.item<double>());
    } catch (const c10::Error& error) {
      messages.emplace_back(error.what_without_backtrace());
    }
  }
  return messages;
}

void submit_check(
    const at::Tensor& number,
    Check check,
    const std::shared_ptr<DeferredChecks>& owner) {
  if (number.is_meta()) {
    return;
  }
  if (owner && has_streams(number.device())) {
    owner->submit(number, std::move(check));
  } else {
    check(number.item<double>());
  }
}

void check_all() {
  std::vector<std::string> messages;
  for (const auto& owner : Owners::instance().living()) {
    auto of_owner = owner->wait();
    std::move(of_owner.begin(), of_owner.end(), std::back_inserter(messages));
  }
  throw_together(messages);
}

}  // namespace detail
}  // namespace torchrev
