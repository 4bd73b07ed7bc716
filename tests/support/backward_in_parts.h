#pragma once

#include <torch/csrc/autograd/edge.h>

#include <map>

#include "support/oracle.h"

/// Backward in parts: passes that start at inner nodes of a graph, as those of
/// pipelines do, which compute the gradients of inputs first and those of
/// parameters later, node by node, in any order.

namespace torchrev {
namespace test {

using torch::autograd::Edge;
using torch::autograd::edge_list;
using NodePtr = decltype(Edge::function);

/// Gradients of leaves, summed as they arrive.
class GradientSums {
 public:
  void add(const Tensor& leaf, const Tensor& gradient);
  std::vector<Tensor> of(const std::vector<Tensor>& leaves) const;

 private:
  std::map<at::TensorImpl*, Tensor> sums_;
};

/// The leaf that `edge` leads to; undefined if it leads on.
Tensor leaf_of(const Edge& edge);

/// The nodes that use one of `leaves` themselves, the last one of forward
/// first: the steps of a stack that have such a parameter.
std::vector<NodePtr> users_of(
    const Tensor& loss, const std::vector<Tensor>& leaves);

/// One pass from `roots`, which returns what arrives at `ends`.
std::vector<Tensor> pass(
    const edge_list& roots,
    const std::vector<Tensor>& grads,
    const edge_list& ends,
    bool retain);

/// What is left of a graph after the gradients of inputs were computed.
struct Parts {
  /// Of the inputs.
  std::vector<Tensor> gradients;
  /// The nodes that use `parameters`, and the gradients that arrived there.
  std::vector<NodePtr> nodes;
  std::vector<Tensor> arrived;
  std::vector<Tensor> parameters;

  /// One pass from `loss`, over the graph that it retains.
  Parts(
      const Tensor& loss,
      const std::vector<Tensor>& inputs,
      const std::vector<Tensor>& parameters);

  /// A pass from node `i`, for its parameters alone.
  void run(std::size_t i, bool retain, GradientSums& sums) const;
};

/// How parts follow each other.
enum class Order { kFirstFirst, kLastFirst, kMixed };
std::vector<std::size_t> in_order(std::size_t count, Order order);

/// Of `inputs` and `parameters`, in parts that do not retain the graph. The
/// loss is gone when they run.
std::vector<Tensor> gradients_in_parts(
    Tensor loss,
    const std::vector<Tensor>& inputs,
    const std::vector<Tensor>& parameters,
    Order order = Order::kFirstFirst);

}  // namespace test
}  // namespace torchrev
