#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>

#include <memory>
#include <utility>
#include <vector>

#include "branch/branch_facts.h"
#include "check.h"
#include "recompute/attributes.h"
#include "recompute/autocast_state.h"
#include "recompute/buffer_record.h"
#include "recompute/parameter_writes.h"
#include "recompute/random_state.h"
#include "recompute/remember_scope.h"

namespace torchrev {
namespace detail {

// How a call is recorded; see ReversibleOptions.
struct RecordOptions {
  bool preserve_rng_state = true;
  BufferOptions buffers = {};
  bool verify_first_call = true;
};

// What a call of a branch saw: random numbers, autocast, buffers, train / eval
// flags and other attributes, and the decisions that it asked to remember.
// Replay runs the branch again with all of them.
class CallRecord {
 public:
  // Notes the surroundings of the call of `branch` with `x` that follows.
  CallRecord(
      const Place& place,
      const Branch& branch,
      const Tensor& x,
      const RecordOptions& options);

  // What calls with these attributes have shown; null before the first one.
  const std::shared_ptr<const BranchFacts::Seen>& seen() const {
    return seen_;
  }

  // Runs the branch for the first time.
  Tensor run(
      const Tensor& x, at::TensorList context, at::TensorList parameters);

  // Undoes what a run that threw has done to generators, buffers and
  // attributes.
  void take_back();

  // Whether the call drew random numbers, as far as that is known.
  bool draws() const {
    return random_ || !preserve_rng_;
  }
  // What the generators are that it may draw from.
  RandomState generators() const {
    return RandomState::capture(devices_);
  }

  // Call it once after run(): see BufferRecord.
  std::vector<bool> settle() {
    return buffers_.settle(place_);
  }

  // Tells what the call wrote to its parameters: a replay then leaves them as
  // it finds them.
  void wrote(std::vector<ParameterWrite> writes) {
    written_ = std::move(writes);
  }

  bool writes() const {
    return !written_.empty();
  }

  // Notes what is now known of calls with the attributes of this one.
  void learn(BranchFacts::Seen seen) {
    seen_ = branch_.facts().learn(attributes_.values(), std::move(seen));
  }
  // Notes that they need a graph.
  void note_graph() {
    if (!seen_->needs_graph) {
      auto seen = *seen_;
      seen.needs_graph = true;
      learn(std::move(seen));
    }
  }

 private:
  friend class Replay;

  Place place_;
  Branch branch_;
  bool preserve_rng_;
  std::vector<c10::Device> devices_;
  // Before the call; null if the call drew nothing.
  std::unique_ptr<RandomState> random_;
  AutocastState autocast_;
  Attributes attributes_;
  std::shared_ptr<const BranchFacts::Seen> seen_;
  BufferRecord buffers_;
  std::vector<ParameterWrite> written_;
  Decisions decisions_;
};

}  // namespace detail
}  // namespace torchrev
