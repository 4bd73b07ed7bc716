#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/function.h>
#include <torch/custom_class.h>
#include <torchrev/branch.h>

#include <functional>
#include <memory>
#include <vector>

#include "call.h"
#include "check.h"
#include "chunks.h"
#include "local_gradient.h"
#include "replay.h"
#include "witness.h"

namespace torchrev {
namespace detail {

using torch::autograd::variable_list;

// What a step's node knows: how its branch ran, and where it stands.
//
// Inputs of the node, in this order: addend, other, the context tensors that
// require grad, the parameters that require grad.
struct Step : torch::CustomClassHolder {
  Step(
      std::shared_ptr<Call> call,
      const Branch& branch,
      int64_t index,
      const Tensor& other,
      at::TensorList context);

  std::shared_ptr<Call> call;
  Branch branch;
  int64_t index;
  Chunks chunks;
  // Moves to the node's saved variables in forward.
  variable_list context;
  variable_list parameters;
  Witness context_witness;
  Witness parameter_witness;
  // One for each chunk.
  std::vector<Replay> replays;
  at::ScalarType branch_dtype = at::kFloat;
  // The node that owns this.
  torch::autograd::Node* node = nullptr;
  // Kept for double backward, which may start at any step.
  StreamPair kept;

  // Context and parameters that require grad.
  variable_list declared() const;

  // out = addend + branch(other). `record`: note how the branch ran. `search`:
  // see NOTE [Search].
  Tensor forward(
      const Tensor& addend, const Tensor& other, bool record, bool search);

  // The gradients of the node's inputs for `grad`, that of `out`.
  variable_list backward(const variable_list& context, Tensor grad);

 private:
  // What the branch is called with.
  struct Inputs {
    Tensor other;
    variable_list context;
    variable_list parameters;
  };
  using Run = std::function<Tensor(const Inputs&)>;

  // What backward works with.
  struct Around {
    const variable_list& context;
    const Tensor& other;
    // out before, addend after, if it is to be rebuilt.
    Tensor& stream;
    bool rebuild;
    Tensor grad;
  };

  Tensor value_of(const Tensor& other, bool record, bool search);
  Tensor run(const Inputs& inputs, bool record);
  Tensor run_and_search(const Tensor& other, bool record);

  Inputs enter(
      LocalGraph& graph,
      const Tensor& other,
      const variable_list& context,
      bool differentiate) const;
  Tensor recompute(
      LocalGraph& graph,
      const Run& run,
      const Around& around,
      Tensor out,
      const Tensor& other,
      at::IntArrayRef strides) const;
  variable_list backward_whole(const Around& around);
  variable_list backward_in_chunks(const Around& around);
  void add_chunk(
      Tensor& sum,
      std::size_t end,
      Tensor gradient,
      const Tensor& other,
      std::size_t chunk) const;
  StreamPair take_pair();
  void check_recomputed(const Tensor& value, const Tensor& other) const;

  bool is_f() const {
    return index % 2 == 0;
  }
  Place place() const {
    return {call->entry, index};
  }
  at::IntArrayRef strides_of_out() const {
    return call->strides[is_f() ? 0 : 1];
  }
};

}  // namespace detail
}  // namespace torchrev
