#pragma once

#include <ATen/core/ivalue.h>
#include <torchrev/detail/callable.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

namespace torchrev {
namespace detail {

// What earlier calls of a branch have shown. All handles of a module share it,
// whichever entry or operator they come through; a function has its own in each
// Branch that was made of it, which copies share.
class BranchFacts : public std::enable_shared_from_this<BranchFacts> {
 public:
  // What the first call showed that ran with these train / eval flags, and as
  // many buffers.
  struct Seen {
    // It was run twice and gave the same.
    bool verified = false;
    // Its input required grad. What it leaves of its graph shows only then.
    bool had_gradient = false;
    // It has to run with a graph: it differentiates, takes another path without
    // one, or leaves in a member what has a graph.
    bool needs_graph = false;
    bool writes_parameters = false;
    // It drew random numbers.
    bool draws = false;
    // It draws other than by operators: a recompute has to set the default
    // generators.
    bool draws_directly = false;
    // It writes buffers other than by operators: a recompute has to put them
    // back.
    bool writes_buffers_directly = false;
    // It changes its attributes.
    bool changes_attributes = false;
    // For each buffer, whether forward changed it.
    std::vector<bool> changed_buffers;
    // For each parameter, whether the result depended on it.
    std::vector<bool> used_parameters;
  };

  // Of `callable`, as long as it or, for a module, any handle of it lives.
  static std::shared_ptr<BranchFacts> of(const Callable& callable);

  explicit BranchFacts(std::type_index type) : type_(type) {}

  // What is known of calls with these attributes, and that many buffers; null
  // if nothing is.
  std::shared_ptr<const Seen> find(
      const std::vector<c10::IValue>& attributes, std::size_t buffers) const;
  std::shared_ptr<const Seen> learn(
      const std::vector<c10::IValue>& attributes,
      std::size_t buffers,
      Seen seen);

  // Whether the call that asks is to be run twice. A function may be made anew
  // for each call: only the first ones of a type are, and each that is called
  // again, since it is held.
  bool worth_verifying();

  // Set once the branch has been searched for undeclared tensors.
  std::atomic<bool> searched{false};
  // Set once a call has left a graph in something that outlived it, whatever
  // its flags: what a later call leaves may take the place of that, unseen.
  std::atomic<bool> keeps_graphs{false};
  // Set once a call has been seen to write to parameters, whatever its flags.
  std::atomic<bool> writes_parameters{false};

 private:
  struct Entry {
    std::vector<bool> flags;
    std::size_t buffers;
    std::shared_ptr<const Seen> seen;
  };

  std::type_index type_;
  std::atomic<bool> asked_{false};
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
};

}  // namespace detail
}  // namespace torchrev
