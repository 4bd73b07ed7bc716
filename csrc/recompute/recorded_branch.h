#pragma once

#include <ATen/core/DimVector.h>
#include <ATen/core/Tensor.h>
#include <c10/util/FunctionRef.h>
#include <torchrev/branch.h>

#include <memory>
#include <vector>

#include "check.h"
#include "recompute/call_record.h"
#include "recompute/chunks.h"
#include "recompute/local_graph.h"
#include "recompute/replay.h"
#include "recompute/sample.h"
#include "recompute/tensor_versions.h"

namespace torchrev {
namespace detail {

// A branch that runs once without a graph, and again in backward, exactly as it
// ran, with one. Knows nothing of what is done with the value.
//
// `x` may come in chunks: then `run` is called once for each, in their order.
class RecordedBranch {
 public:
  RecordedBranch(
      const Place& place,
      const Branch& branch,
      at::TensorList context,
      const Chunks& chunks,
      const RecordOptions& options);

  const Chunks& chunks() const {
    return chunks_;
  }

  // What a gradient is returned for besides that of x: the context tensors and
  // the parameters that require grad.
  variable_list declared() const;

  // How the first run is made.
  struct Mode {
    // Notes what the run saw, for a recompute.
    bool record = false;
    // Without a record: looks for undeclared tensors all the same; see
    // NOTE [Search].
    bool search = false;
  };
  // The value for `x`, which has to be of `sizes`.
  Tensor run(const Tensor& x, at::IntArrayRef sizes, const Mode& mode);

  // Hands the context over to the caller, who keeps it as saved variables, so
  // that it is freed with the graph, and gives it back to what follows.
  variable_list release_context();

  // Call it once the node of the step is made: notes what tells that a member
  // which held a parameter was assigned another tensor.
  void note_handles() {
    parameter_versions_.note_handles(parameters_);
  }

  // Throws c10::ValueError if context or parameters were changed since.
  void check_unchanged(const variable_list& context) const;

  // One recompute. Keep it until the local gradient is done, which may read
  // the buffers that the replays have put back.
  class Recompute {
   public:
    Recompute() = default;
    Recompute(Recompute&&) = default;
    Recompute& operator=(Recompute&&) = default;
    // Replays put back what they found, so the last one goes first.
    ~Recompute();

    // With a graph if grad mode was on.
    Tensor value;
    // Of declared(), in its order.
    std::vector<LocalGraph::Handle> declared;

   private:
    friend class RecordedBranch;
    std::vector<std::unique_ptr<Replay>> replays_;
    // The value is another one than in forward, by more than rounding.
    bool differs_ = false;
  };

  // Whether a recompute that is not back-propagated through needs a graph all
  // the same: for the branch, or for check_used().
  bool needs_graph() const;

  // Runs the branch again within `graph`, for `x`, all of it. `outers`: where
  // the gradients of declared() go; empty: nowhere. What is made of the value
  // has to be checked by the graph.
  Recompute recompute(
      LocalGraph& graph,
      const Tensor& x,
      const variable_list& context,
      const std::vector<LocalGraph::Outer>& outers) const;
  // The same for `x`, chunk number `chunk`.
  Recompute recompute_chunk(
      LocalGraph& graph,
      std::size_t chunk,
      const Tensor& x,
      const variable_list& context,
      const std::vector<LocalGraph::Outer>& outers) const;

  // Throws c10::ValueError if a parameter that the first call used is not used
  // by the recompute that `graph` has checked, and if there is a sign that this
  // is none of the branch's own doing: the parameter has lost a handle since
  // forward, or the value differs.
  void check_used(const LocalGraph& graph, const Recompute& recompute) const;

  // Drops the records and the branch: there will be no other recompute.
  void forget();

 private:
  // What the branch is called with besides x.
  struct Arguments {
    variable_list context;
    variable_list parameters;
  };
  // What one call returned and saw.
  struct Call {
    Call(
        const Place& place,
        const Branch& branch,
        const Tensor& x,
        const RecordOptions& options)
        : record(place, branch, x, options) {}

    CallRecord record;
    at::DimVector sizes;
    at::ScalarType dtype = at::kFloat;
    // Of the value, for check_used().
    Sample sample;
  };
  // A run of the branch that builds a graph, which is dropped.
  struct InGraph {
    Tensor value;
    // Which parameters the value depends on.
    std::vector<bool> used;
    // Something that the run made still holds the graph.
    bool outlives = false;
    // It may, unseen: see Accumulators.
    bool may_outlive = false;
  };

  // The four ways to run it in forward: without a record, with one, that of a
  // first call, and with a graph, calling `run(x, arguments)`.
  Tensor run_unrecorded(const Tensor& x, bool search);
  Tensor record(const Tensor& x);
  bool ran_without_graph(Call& call, const Tensor& x, Tensor& value);
  bool wants_verification() const;
  Tensor first_call(Call& call, const Tensor& x);
  using RunInGraph = c10::function_ref<Tensor(const Tensor&, const Arguments&)>;
  InGraph in_graph(const Tensor& x, RunInGraph run);
  // A step of in_graph(): what is held of the graph dies with it.
  void run_in_graph(
      LocalGraph& graph, const Tensor& x, RunInGraph run, InGraph& result);
  // See NOTE [First call]. Notes in `seen` what a replay needs.
  void verify(
      const Call& call,
      const Tensor& x,
      Tensor& value,
      BranchFacts::Seen& seen);
  // How a replay of a first call went.
  struct Repetition {
    bool same = false;
    // The same, and it is known to be no chance.
    bool is_clear = false;
    // The default generators moved meanwhile.
    bool moved = false;
    // The same was not to be expected: random numbers are not preserved.
    bool drew_anew = false;
    // See Replay.
    bool drew_as_recorded = false;
  };
  Repetition repeat(
      const Call& call,
      const Tensor& x,
      Tensor& value,
      const Replay::Shares& shares,
      bool last,
      BranchFacts::Seen& seen);
  Repetition repeat_with_own(
      const Call& call,
      const Tensor& x,
      Tensor& value,
      bool last,
      BranchFacts::Seen& seen);
  static Tensor replay_first_call(
      const Call& call,
      const Tensor& x,
      const Arguments& arguments,
      const Replay::Shares& shares,
      Repetition& result);
  // Whether a run leaves a graph in something that outlives it.
  bool leaves_a_graph(const Call& call, const Tensor& x);
  // Whether a branch that gives the same with numbers of its own yet draws from
  // the default generators past all operators, or another thread does.
  bool draws_directly(
      const Call& call, const Tensor& x, Tensor value, BranchFacts::Seen seen);

  // Lets the branch use its tensors within `graph`. `handles` get those of
  // declared().
  Arguments enter(
      LocalGraph& graph,
      const variable_list& context,
      const std::vector<LocalGraph::Outer>& outers,
      std::vector<LocalGraph::Handle>& handles) const;
  // Calls visit(i, handle) for each parameter i that requires grad; `handles`
  // are those of declared(), in which the parameters come last.
  template <typename Visit>
  void for_each_trained(
      const std::vector<LocalGraph::Handle>& handles,
      const Visit& visit) const {
    auto handle = handles.end();
    for (auto i = parameters_.size(); i-- > 0;) {
      if (parameters_[i].requires_grad()) {
        visit(i, *--handle);
      }
    }
  }
  // What both recomputes do: `run(replay)` is the value, made by calls of
  // replay(part of x, its number).
  template <typename Run>
  Recompute recompute_by(
      LocalGraph& graph,
      const variable_list& context,
      const std::vector<LocalGraph::Outer>& outers,
      const Run& run) const;
  Tensor replay(
      Recompute& recompute,
      std::size_t chunk,
      const Tensor& x,
      const Arguments& arguments) const;
  void check_not_replaced(const Callable& callable) const;
  bool may_lose_parameters() const;

  Place place_;
  // None once it was forgotten: what a branch keeps of its graph may lead here.
  torch::optional<Branch> branch_;
  Chunks chunks_;
  RecordOptions options_;
  variable_list context_;
  variable_list parameters_;
  TensorVersions context_versions_;
  TensorVersions parameter_versions_;
  std::vector<Call> calls_;
};

}  // namespace detail
}  // namespace torchrev
