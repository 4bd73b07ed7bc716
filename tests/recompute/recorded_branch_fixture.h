#pragma once

#include "recompute/recorded_branch.h"

#include <torch/csrc/autograd/variable.h>

#include "branch/branch_facts.h"
#include "support/support.h"

namespace torchrev {
namespace test {

/// Records branches over `x` and recomputes them.
class RecordedBranchFixture : public testing::Test {
 protected:
  using LocalGraph = detail::LocalGraph;
  using RecordedBranch = detail::RecordedBranch;
  using variable_list = torch::autograd::variable_list;

  static constexpr int64_t kWidth = 4;
  static constexpr RecordedBranch::Mode kRecord{
      /*record=*/true, /*search=*/false};
  static constexpr RecordedBranch::Mode kSearch{
      /*record=*/false, /*search=*/true};
  const detail::Place kPlace{"entry", StepId{3, Role::kF}};

  static LocalGraph::Outer outer_of(const Tensor& tensor, bool wanted = true) {
    return {torch::autograd::impl::gradient_edge(tensor), wanted};
  }
  static Branch dropping() {
    torch::nn::Sequential module(linear(kWidth), torch::nn::Dropout(0.5));
    return module;
  }

  // `branch`, that ran for x, chunk by chunk, as a node's forward runs it: the
  // context is handed over to the node.
  RecordedBranch ran(
      const Branch& branch,
      int64_t chunks = 1,
      const detail::Place& place = {"entry", StepId{3, Role::kF}}) {
    RecordedBranch recorded(place, branch, context, {chunks, 0, x}, {});
    declared = recorded.declared();
    const at::NoGradGuard no_grad;
    value = recorded.chunks().map(x, [&](const Tensor& part, std::size_t) {
      return recorded.run(part, part.sizes(), kRecord);
    });
    saved = recorded.release_context();
    return recorded;
  }

  // A recompute without a gradient.
  RecordedBranch::Recompute recompute(const RecordedBranch& recorded) const {
    const at::NoGradGuard no_grad;
    LocalGraph graph(/*differentiable=*/false);
    return recorded.recompute(graph, x, saved, {});
  }

  // The gradients of `seed * value`, of x and of what is declared, of which
  // number `only` alone is wanted if it is given.
  std::vector<Tensor> gradients(
      const RecordedBranch& recorded, int64_t only = -1) const {
    LocalGraph graph(/*differentiable=*/false);
    const auto input = graph.enter(x, outer_of(x));
    std::vector<LocalGraph::Outer> outers;
    for (const Tensor& tensor : declared) {
      outers.push_back(
          outer_of(tensor, only < 0 || only == int64_t(outers.size())));
    }
    const auto recompute =
        recorded.recompute(graph, input.alias, saved, outers);
    graph.check(kPlace, recompute.value);
    graph.backward(seed);
    std::vector<Tensor> gradients = {graph.gradient(input.handle)};
    for (const auto handle : recompute.declared) {
      gradients.push_back(graph.gradient(handle));
    }
    return gradients;
  }

  Tensor x = torch::randn({6, kWidth}, at::kDouble).requires_grad_();
  Tensor seed = torch::randn({6, kWidth}, at::kDouble);
  // Of the call.
  variable_list context;
  // Of the run.
  variable_list declared;
  variable_list saved;
  Tensor value;
};

}  // namespace test
}  // namespace torchrev
