#include "stack/part_backward.h"

#include <torch/csrc/autograd/graph_task.h>

#include <utility>

namespace torchrev {
namespace detail {

namespace {

// Inputs of a step's node, in their order; what is declared comes last. This
// file alone knows of it, beside StepFunction, which names them.
constexpr std::size_t kAddend = 0;
constexpr std::size_t kOther = 1;
constexpr std::size_t kDeclared = 2;

}  // namespace

StepInputs::StepInputs(const Step& step) {
  const auto outer_of = [&step](std::size_t input) {
    return LocalGraph::Outer{
        step.node->next_edge(input),
        step.node->task_should_compute_output(input)};
  };
  declared.reserve(step.node->num_outputs() - kDeclared);
  addend = outer_of(kAddend);
  other = outer_of(kOther);
  for (auto i = kDeclared; i < step.node->num_outputs(); ++i) {
    declared.push_back(outer_of(i));
  }
}

bool Step::rebuilds() const {
  return node->task_should_compute_output(kOther);
}

bool Step::step_before_runs() const {
  const auto* info = torch::autograd::get_current_graph_task_exec_info();
  if (!info || info->empty()) {
    return true;
  }
  const auto found = info->find(node->next_edge(kOther).function.get());
  return found != info->end() && found->second.needed_;
}

variable_list StepGradients::in_order() && {
  variable_list list;
  // And room for an argument of the node that is no tensor.
  list.reserve(declared.size() + kDeclared + 1);
  list.push_back(std::move(addend));
  list.push_back(std::move(other));
  for (auto& gradient : declared) {
    list.push_back(std::move(gradient));
  }
  return list;
}

Tensor PartBackward::gradient_of_root(
    const Step& step, const Tensor& grad) const {
  return coupled ? grad : step.segment->arithmetic.gradient_of_value(grad);
}

void PartBackward::finish(
    const Step& step, const Wanted& wanted, Part part, const Tensor& alias) {
  const auto& arithmetic = step.segment->arithmetic;
  auto value = std::move(branch.value);
  const auto separate = [&](Tensor value) {
    const at::NoGradGuard no_grad;
    return arithmetic.separate(
        step.place(),
        std::move(part.out),
        std::move(value),
        part.other,
        part.strides);
  };
  if (arithmetic.is_additive() || !wanted.differentiate) {
    graph.check(step.place(), value);
    step.recorded.check_used(graph, branch);
    // Without its graph, the storage of the value can take up the addend, if
    // nothing in the graph has saved it.
    value = value.detach();
    if (wanted.rebuild) {
      addend = separate(std::move(value));
    }
    return;
  }
  addend = separate(value.detach());
  const auto input = graph.enter(addend, wanted.inputs.addend);
  coupled = input.handle;
  graph.check(
      step.place(), arithmetic.couple(step.place(), input.alias, value, alias));
  step.recorded.check_used(graph, branch);
}

}  // namespace detail
}  // namespace torchrev
