#pragma once

#include <ATen/core/DimVector.h>
#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>

#include <memory>
#include <vector>

#include "check.h"
#include "recompute/call_record.h"
#include "recompute/chunks.h"
#include "recompute/local_graph.h"
#include "recompute/replay.h"
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
    bool record;
    // Looks for undeclared tensors; see NOTE [Search].
    bool search;
  };
  // The value for `x`, which has to be of `sizes`.
  Tensor run(const Tensor& x, at::IntArrayRef sizes, const Mode& mode);

  // Hands the context over to the caller, who keeps it as saved variables, so
  // that it is freed with the graph, and gives it back to what follows.
  variable_list release_context();

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
  };

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

  // Drops the records: there will be no other recompute.
  void forget();

 private:
  // What the branch is called with besides x.
  struct Arguments {
    variable_list context;
    variable_list parameters;
  };

  Tensor run(const Tensor& x, const Arguments& arguments, bool record);
  Tensor run_and_search(const Tensor& x, bool record);
  // Lets the branch use its tensors within `graph`. Calls `note(handle)` for
  // each of declared().
  template <typename Note>
  Arguments enter(
      LocalGraph& graph,
      const variable_list& context,
      const std::vector<LocalGraph::Outer>& outers,
      const Note& note) const;
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

  Place place_;
  Branch branch_;
  Chunks chunks_;
  RecordOptions options_;
  variable_list context_;
  variable_list parameters_;
  TensorVersions context_versions_;
  TensorVersions parameter_versions_;
  // What one call returned and saw.
  struct Call {
    Call(const Branch& branch, const Tensor& x, const RecordOptions& options)
        : record(branch, x, options) {}

    CallRecord record;
    at::DimVector sizes;
    at::ScalarType dtype = at::kFloat;
  };
  std::vector<Call> calls_;
};

}  // namespace detail
}  // namespace torchrev
