#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <unordered_map>
#include <vector>

#include "recompute/local_graph.h"
#include "recompute/no_trace.h"
#include "recompute/remember_scope.h"
#include "recompute/verification.h"
#include "stack/stack.h"

namespace torchrev {
namespace detail {

// A stack and what it is called with: one tensor, or two streams.
struct StackRun {
  Stack stack;
  std::vector<Tensor> x;
};

// y, or {y1, y2}, of a run.
variable_list run(const StackRun& run);

// While it lives, runs of the stack leave no trace in branches and generators,
// and scopes of remember() outside learn nothing of them.
class UntracedStack {
 public:
  explicit UntracedStack(const StackRun& run);

 private:
  MeasureScope scope_;
  // A run that measures is no first call.
  WithoutVerification no_verification_;
  std::vector<std::unique_ptr<NoTrace>> no_traces_;
};

// A run that leaves no trace: over aliases of the inputs, with the edges into
// parameters redirected to sinks, so that no `.grad` is written and no hook of
// a parameter runs; buffers, attributes and generators are afterwards as
// before.
class IsolatedRun {
 public:
  explicit IsolatedRun(const StackRun& run);

  // Over the aliases.
  const StackRun& run() const {
    return run_;
  }
  // Where its gradients go.
  LocalGraph& graph() {
    return graph_;
  }
  // Of the parameters of each block that require grad, in graph().
  const std::vector<std::vector<LocalGraph::Handle>>& parameters() const {
    return parameters_;
  }

 private:
  // Casts that autocast holds on to belong to the step that made them.
  struct EmptyAutocastCache {
    EmptyAutocastCache();
    ~EmptyAutocastCache();
  };

  // One alias of each tensor, since gradients of one are added up.
  Tensor alias(const Tensor& tensor);

  UntracedStack untraced_;
  EmptyAutocastCache no_casts_;
  LocalGraph graph_;
  StackRun run_;
  std::unordered_map<const void*, Tensor> aliases_;
  variable_list context_;
  std::vector<std::vector<LocalGraph::Handle>> parameters_;
};

}  // namespace detail
}  // namespace torchrev
