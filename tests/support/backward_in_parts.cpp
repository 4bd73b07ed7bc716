#include "support/backward_in_parts.h"

#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>

#include <algorithm>
#include <set>

namespace torchrev {
namespace test {

namespace {

using torch::autograd::AccumulateGrad;
using torch::autograd::Node;
using torch::autograd::impl::gradient_edge;

bool contains(const std::vector<Tensor>& tensors, const Tensor& tensor) {
  return std::any_of(tensors.begin(), tensors.end(), [&](const Tensor& one) {
    return tensor.defined() && one.is_same(tensor);
  });
}

}  // namespace

void GradientSums::add(const Tensor& leaf, const Tensor& gradient) {
  auto& sum = sums_[leaf.unsafeGetTensorImpl()];
  if (gradient.defined()) {
    sum = sum.defined() ? sum + gradient : gradient;
  }
}

std::vector<Tensor> GradientSums::of(const std::vector<Tensor>& leaves) const {
  std::vector<Tensor> gradients;
  for (const auto& leaf : leaves) {
    const auto found = sums_.find(leaf.unsafeGetTensorImpl());
    gradients.push_back(found == sums_.end() ? Tensor() : found->second);
  }
  return gradients;
}

Tensor leaf_of(const Edge& edge) {
  const auto* node = dynamic_cast<AccumulateGrad*>(edge.function.get());
  return node ? node->variable : Tensor();
}

std::vector<NodePtr> users_of(
    const Tensor& loss, const std::vector<Tensor>& leaves) {
  std::vector<NodePtr> users;
  std::set<Node*> seen;
  std::vector<NodePtr> pending = {loss.grad_fn()};
  while (!pending.empty()) {
    const NodePtr node = pending.back();
    pending.pop_back();
    bool uses = false;
    for (const auto& edge : node->next_edges()) {
      uses |= contains(leaves, leaf_of(edge));
      if (edge.is_valid() && seen.insert(edge.function.get()).second) {
        pending.push_back(edge.function);
      }
    }
    if (uses) {
      users.push_back(node);
    }
  }
  std::sort(users.begin(), users.end(), [](const auto& a, const auto& b) {
    return a->sequence_nr() > b->sequence_nr();
  });
  return users;
}

std::vector<Tensor> pass(
    const edge_list& roots,
    const std::vector<Tensor>& grads,
    const edge_list& ends,
    bool retain) {
  return torch::autograd::Engine::get_default_engine().execute(
      roots,
      grads,
      /*keep_graph=*/retain,
      /*create_graph=*/false,
      /*accumulate_grad=*/false,
      ends);
}

Parts::Parts(
    const Tensor& loss,
    const std::vector<Tensor>& inputs,
    const std::vector<Tensor>& parameters)
    : nodes(users_of(loss, parameters)), parameters(parameters) {
  edge_list ends;
  for (const auto& x : inputs) {
    ends.push_back(gradient_edge(x));
  }
  for (const auto& node : nodes) {
    ends.emplace_back(node, 0);
  }
  gradients = pass(
      {gradient_edge(loss)}, {torch::ones_like(loss)}, ends, /*retain=*/true);
  const auto split = gradients.begin() + static_cast<int64_t>(inputs.size());
  arrived.assign(split, gradients.end());
  gradients.erase(split, gradients.end());
}

void Parts::run(std::size_t i, bool retain, GradientSums& sums) const {
  // Nothing flowed there.
  if (!arrived[i].defined()) {
    return;
  }
  edge_list ends;
  for (const auto& edge : nodes[i]->next_edges()) {
    const auto known = [&](const Edge& end) { return end == edge; };
    // A node may use a leaf twice: what arrives there is the sum.
    if (contains(parameters, leaf_of(edge)) &&
        std::none_of(ends.begin(), ends.end(), known)) {
      ends.push_back(edge);
    }
  }
  const auto results = pass({Edge(nodes[i], 0)}, {arrived[i]}, ends, retain);
  for (std::size_t end = 0; end < ends.size(); ++end) {
    sums.add(leaf_of(ends[end]), results[end]);
  }
}

std::vector<std::size_t> in_order(std::size_t count, Order order) {
  std::vector<std::size_t> indices(count);
  for (std::size_t i = 0; i < count; ++i) {
    indices[i] = order == Order::kLastFirst ? i : count - 1 - i;
  }
  if (order == Order::kMixed && count > 1) {
    // From the middle up, then from the first one to the middle.
    std::rotate(
        indices.begin(),
        indices.begin() + static_cast<int64_t>(count / 2),
        indices.end());
    std::swap(indices.front(), indices.back());
  }
  return indices;
}

std::vector<Tensor> gradients_in_parts(
    Tensor loss,
    const std::vector<Tensor>& inputs,
    const std::vector<Tensor>& parameters,
    Order order) {
  Parts parts(loss, inputs, parameters);
  loss = Tensor();
  GradientSums sums;
  for (const auto i : in_order(parts.nodes.size(), order)) {
    parts.run(i, /*retain=*/false, sums);
    parts.nodes[i] = nullptr;
  }
  auto gradients = parts.gradients;
  const auto rest = sums.of(parameters);
  gradients.insert(gradients.end(), rest.begin(), rest.end());
  return gradients;
}

}  // namespace test
}  // namespace torchrev
