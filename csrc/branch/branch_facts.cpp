#include "branch/branch_facts.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace torchrev {
namespace detail {

namespace {

// Combinations of flags that are remembered: one is forgotten where there are
// more, and seen anew.
constexpr std::size_t kMostEntries = 16;

// Functions of one type that are verified at their first call.
constexpr int kVerifiedPerType = 64;

bool has_flags(
    const std::vector<bool>& flags, const std::vector<c10::IValue>& values) {
  std::size_t i = 0;
  for (const auto& value : values) {
    if (value.isBool() && (i == flags.size() || flags[i++] != value.toBool())) {
      return false;
    }
  }
  return i == flags.size();
}

// The facts of all modules that live, by their addresses.
class Registry {
 public:
  static Registry& instance() {
    static Registry registry;
    return registry;
  }

  std::shared_ptr<BranchFacts> of(Callable::Identity identity) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = modules_.find(identity.address);
    if (found != modules_.end() && !found->second.expired()) {
      return found->second.facts;
    }
    sweep();
    auto facts = std::make_shared<BranchFacts>(identity.type);
    modules_[identity.address] = {std::move(identity.expired), facts};
    return facts;
  }

  // Whether a function is among the first of its type.
  bool is_among_first(std::type_index type) {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto& count = types_[type];
    return count < kVerifiedPerType && ++count > 0;
  }

 private:
  struct Known {
    std::function<bool()> expired;
    std::shared_ptr<BranchFacts> facts;
  };

  // Before the table would grow: it holds twice the living modules at most.
  void sweep() {
    if (modules_.size() < limit_) {
      return;
    }
    for (auto item = modules_.begin(); item != modules_.end();) {
      item = item->second.expired() ? modules_.erase(item) : std::next(item);
    }
    limit_ = std::max<std::size_t>(64, 2 * modules_.size());
  }

  std::mutex mutex_;
  std::unordered_map<const void*, Known> modules_;
  std::size_t limit_ = 64;
  std::unordered_map<std::type_index, int> types_;
};

}  // namespace

std::shared_ptr<BranchFacts> BranchFacts::of(const Callable& callable) {
  auto identity = callable.identity();
  return identity.address ? Registry::instance().of(std::move(identity))
                          : std::make_shared<BranchFacts>(identity.type);
}

std::shared_ptr<const BranchFacts::Seen> BranchFacts::find(
    const std::vector<c10::IValue>& attributes, std::size_t buffers) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& entry : entries_) {
    if (entry.buffers == buffers && has_flags(entry.flags, attributes)) {
      return entry.seen;
    }
  }
  return nullptr;
}

std::shared_ptr<const BranchFacts::Seen> BranchFacts::learn(
    const std::vector<c10::IValue>& attributes,
    std::size_t buffers,
    Seen seen) {
  std::vector<bool> flags;
  for (const auto& value : attributes) {
    if (value.isBool()) {
      flags.push_back(value.toBool());
    }
  }
  if (seen.writes_parameters) {
    writes_parameters = true;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto same =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
        return entry.buffers == buffers && entry.flags == flags;
      });
  auto shared = std::make_shared<const Seen>(std::move(seen));
  if (same != entries_.end()) {
    entries_.erase(same);
  } else if (entries_.size() == kMostEntries) {
    entries_.erase(entries_.begin());
  }
  entries_.push_back({std::move(flags), buffers, shared});
  return shared;
}

bool BranchFacts::worth_verifying() {
  const bool again = asked_.exchange(true);
  return type_ == typeid(void) || again ||
         Registry::instance().is_among_first(type_);
}

}  // namespace detail
}  // namespace torchrev
