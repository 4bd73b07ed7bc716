#include "passes.h"

#include "support/backward_in_parts.h"

namespace torchrev {
namespace test {
namespace differential {

void Passes::operator()(Tensor loss, bool retain) {
  const auto in_part = [this](std::size_t i) { return this->in_part(i); };
  switch (program_.derivative) {
    case Derivative::kBackward:
      return loss.backward({}, retain);
    case Derivative::kBackwardPart:
      return backward_of_part(loss, retain);
    case Derivative::kGradPart:
      gradients(loss, in_part, retain);
      return;
    case Derivative::kParts:
      return parts(loss, retain);
    case Derivative::kInputsFirst:
      return inputs_and_rest(loss, /*inputs_first=*/true, retain);
    case Derivative::kInputsLast:
      return inputs_and_rest(loss, /*inputs_first=*/false, retain);
    case Derivative::kInnerNodes:
      return from_inner_nodes(std::move(loss), retain);
    default:
      return second_order(loss, retain);
  }
}

bool Passes::in_part(std::size_t leaf, int64_t rotation) const {
  return (program_.part >> ((leaf + rotation) % 64)) & 1;
}

std::vector<Tensor> Passes::leaves_of(const Wanted& wanted) const {
  std::vector<Tensor> chosen;
  for (std::size_t i = 0; i < leaves_.size(); ++i) {
    const auto& tensor = leaves_[i].tensor;
    if (wanted(i) && tensor.defined() && tensor.requires_grad()) {
      chosen.push_back(tensor);
    }
  }
  return chosen;
}

std::vector<Tensor> Passes::gradients(
    const Tensor& of, const Wanted& wanted, bool retain, bool create_graph) {
  const auto chosen = leaves_of(wanted);
  if (chosen.empty()) {
    return {};
  }
  auto result = torch::autograd::grad(
      {of}, chosen, {}, retain, create_graph, /*allow_unused=*/true);
  std::size_t next = 0;
  for (std::size_t i = 0; i < leaves_.size(); ++i) {
    const auto& leaf = leaves_[i];
    if (next < chosen.size() && leaf.tensor.is_same(chosen[next])) {
      record_.add_gradient("grad() of " + leaf.name, result[next++]);
    }
  }
  return result;
}

void Passes::backward_of_part(const Tensor& loss, bool retain) {
  const auto chosen = leaves_of([this](std::size_t i) {
    return in_part(i) && leaves_[i].tensor.defined() &&
           leaves_[i].tensor.is_leaf();
  });
  if (!chosen.empty()) {
    torch::autograd::backward({loss}, {}, retain, false, chosen);
  }
}

void Passes::parts(const Tensor& loss, bool retain) {
  for (const int64_t rotation : {0, 7, 13}) {
    const auto wanted = [&](std::size_t i) { return in_part(i, rotation); };
    gradients(loss, wanted, retain || rotation != 13);
  }
}

void Passes::inputs_and_rest(
    const Tensor& loss, bool inputs_first, bool retain) {
  for (const bool last : {false, true}) {
    const auto wanted = [&](std::size_t i) {
      return (i < inputs_) == (inputs_first != last);
    };
    gradients(loss, wanted, retain || !last);
  }
}

// Whether passes from inner nodes can tell what each adds to the gradient of
// this leaf: not where a second one uses it, which the first one may reach, nor
// where a node has several results.
bool Passes::is_inner(const Tensor& loss, std::size_t leaf) const {
  const auto& tensor = leaves_[leaf].tensor;
  if (leaf < inputs_ || !tensor.defined() || !tensor.is_leaf()) {
    return false;
  }
  const auto users = users_of(loss, {tensor});
  return users.size() == 1 && users[0]->num_inputs() == 1;
}

// In plain autograd the nodes are others: one pass gives what all passes over
// them would.
void Passes::from_inner_nodes(Tensor loss, bool retain) {
  if (way_ == Way::kPlain) {
    gradients(
        loss, [](std::size_t) { return true; }, retain);
    return;
  }
  std::vector<bool> chosen;
  for (std::size_t i = 0; i < leaves_.size(); ++i) {
    chosen.push_back(is_inner(loss, i));
  }
  const auto ends = leaves_of([&](std::size_t i) { return !chosen[i]; });
  const auto inner = leaves_of([&](std::size_t i) { return chosen[i]; });
  if (ends.empty() && inner.empty()) {
    return;
  }
  Parts parts(loss, ends, inner);
  if (!retain) {
    loss = Tensor();
  }
  GradientSums sums;
  const auto order = static_cast<Order>(program_.order);
  for (const auto i : in_order(parts.nodes.size(), order)) {
    parts.run(i, retain || program_.retains, sums);
    if (!program_.retains) {
      parts.nodes[i] = nullptr;
    }
  }
  auto end = parts.gradients.begin();
  for (std::size_t i = 0; i < leaves_.size(); ++i) {
    const auto& leaf = leaves_[i];
    if (leaf.tensor.defined() && leaf.tensor.requires_grad()) {
      record_.add_gradient(
          "grad() of " + leaf.name,
          chosen[i] ? sums.of({leaf.tensor})[0] : *end++);
    }
  }
}

// penalty = sum of |d loss / d part|^2, or the product of the Hessian with a
// fixed vector.
void Passes::second_order(const Tensor& loss, bool retain) {
  const auto in_part = [this](std::size_t i) { return this->in_part(i); };
  std::vector<Tensor> differentiable;
  for (const auto& gradient :
       gradients(loss, in_part, /*retain=*/true, /*create_graph=*/true)) {
    if (gradient.defined() && gradient.requires_grad()) {
      differentiable.push_back(gradient);
    }
  }
  if (program_.derivative == Derivative::kHessianVector) {
    if (!differentiable.empty()) {
      gradients(weighted_sum(differentiable), in_part, retain);
    }
    return;
  }
  auto total = loss;
  for (const auto& gradient : differentiable) {
    total = total + gradient.square().sum().to(total.device());
  }
  total.backward({}, retain);
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
