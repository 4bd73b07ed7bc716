#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/variable.h>

#include <exception>
#include <string>
#include <utility>

#include "recompute/accumulators.h"
#include "recompute/graph_mode.h"
#include "recompute/interception.h"
#include "recompute/recorded_branch.h"
#include "recompute/verification.h"

// How a RecordedBranch runs in forward.

namespace torchrev {
namespace detail {

namespace {

// A value whose graph is not wanted. A custom Function builds a node even where
// operators record none; it goes with the graph.
Tensor without_graph(Tensor value) {
  return value.defined() && value.requires_grad() ? value.detach()
                                                  : std::move(value);
}

// LibTorch's errors for a result that has no graph.
bool misses_graph(const std::exception& error) {
  return std::string(error.what()).find("not require grad") !=
         std::string::npos;
}

}  // namespace

// NOTE [Search]
// A tensor that requires grad and was not declared shows in the graph of its
// branch. That graph is built in backward only, or never if nothing declared
// requires grad. So the first call of a branch builds one, which is looked
// through and dropped.

void RecordedBranch::run_in_graph(
    LocalGraph& graph, const Tensor& x, RunInGraph run, InGraph& result) {
  const auto input = graph.enter(x, {});
  std::vector<LocalGraph::Handle> declared;
  const auto arguments = enter(graph, context_, {}, declared);
  const auto value = run(input.alias, arguments);
  graph.check(place_, value);
  result.value = without_graph(value);
  result.used.assign(parameters_.size(), false);
  for_each_trained(declared, [&](std::size_t i, auto handle) {
    result.used[i] = graph.reaches(handle);
  });
}

RecordedBranch::InGraph RecordedBranch::in_graph(
    const Tensor& x, RunInGraph run) {
  const at::AutoGradMode grad_mode(true);
  const Accumulators accumulators(parameters_);
  InGraph result;
  result.may_outlive = accumulators.are_held_by_others();
  std::weak_ptr<void> life;
  {
    LocalGraph graph{LocalGraph::Dropped()};
    life = graph.life();
    run_in_graph(graph, x, run, result);
  }
  result.outlives = !life.expired() || accumulators.are_held_more();
  if (result.outlives) {
    torch::autograd::edge_list edges;
    for (const auto& tensor : declared()) {
      edges.push_back(torch::autograd::impl::gradient_edge(tensor));
    }
    if (x.requires_grad()) {
      edges.push_back(torch::autograd::impl::gradient_edge(x));
    }
    refuse_graphs_in_attributes(branch_->callable(), edges);
  }
  return result;
}

Tensor RecordedBranch::run_unrecorded(const Tensor& x, bool search) {
  const auto run = [this](const Tensor& x, const Arguments& arguments) {
    const Interception interception({});
    return branch_->callable().forward(
        x, arguments.context, arguments.parameters);
  };
  // Calls that are recorded may be waiting for their backward.
  torch::optional<ParameterWrites> writes;
  if (branch_->facts().writes_parameters) {
    writes.emplace(parameters_);
  }
  auto value = search ? in_graph(x, run).value
                      : without_graph(run(x, {context_, parameters_}));
  if (search) {
    branch_->facts().searched = true;
  }
  if (writes) {
    writes->forgive_unchanged();
  }
  return value;
}

Tensor RecordedBranch::record(const Tensor& x) {
  calls_.emplace_back(place_, *branch_, x, options_);
  auto& call = calls_.back();
  const auto& seen = call.record.seen();
  if (!seen || (!seen->verified && wants_verification())) {
    return first_call(call, x);
  }
  torch::optional<ParameterWrites> writes;
  if (seen->writes_parameters) {
    writes.emplace(parameters_);
  }
  Tensor value;
  // Within a branch nothing has verified that it needs none.
  const bool unknown = !seen->verified && WithoutVerification::is_active();
  const bool is_new = !seen->had_gradient && x.requires_grad();
  if (seen->needs_graph || unknown || is_new ||
      !ran_without_graph(call, x, value)) {
    auto run = in_graph(x, [&](const Tensor& x, const Arguments& arguments) {
      return call.record.run(x, arguments.context, arguments.parameters);
    });
    value = std::move(run.value);
    if (run.outlives) {
      branch_->facts().keeps_graphs = true;
    }
    if (!unknown) {
      call.record.note_graph(/*is_needed=*/!is_new || run.outlives);
    }
  }
  if (writes) {
    call.record.wrote(writes->since());
    writes->forgive_unchanged();
    parameter_versions_ = TensorVersions(parameters_);
  }
  call.record.settle();
  return value;
}

// A branch may say by an error that it needs a graph, where no verification has
// shown it, or where only now its input requires grad: then the call is taken
// back, and false returned.
bool RecordedBranch::ran_without_graph(
    Call& call, const Tensor& x, Tensor& value) {
  const WithoutGraph without;
  try {
    value = without_graph(call.record.run(x, context_, parameters_));
  } catch (const std::exception& error) {
    if (call.record.seen()->verified && !misses_graph(error)) {
      throw;
    }
    call.record.take_back();
    return false;
  }
  return true;
}

bool RecordedBranch::wants_verification() const {
  return options_.verify_first_call && !WithoutVerification::is_active() &&
         branch_->facts().worth_verifying();
}

Tensor RecordedBranch::first_call(Call& call, const Tensor& x) {
  const bool verifies = wants_verification();
  torch::optional<WithoutVerification> nothing_nested;
  if (verifies) {
    nothing_nested.emplace();
  }
  auto first = in_graph(x, [&](const Tensor& x, const Arguments& arguments) {
    return call.record.run(x, arguments.context, arguments.parameters);
  });
  BranchFacts::Seen seen;
  seen.had_gradient = x.requires_grad();
  auto& facts = branch_->facts();
  if (first.outlives) {
    facts.keeps_graphs = true;
  }
  seen.needs_graph = facts.keeps_graphs || branch_->callable().needs_graph();
  seen.used_parameters = std::move(first.used);
  seen.writes_parameters =
      facts.writes_parameters || parameter_versions_.written(parameters_);
  if (seen.writes_parameters) {
    call.record.wrote(parameter_versions_.writes(parameters_));
  }
  call.record.settle(seen);
  // Within a verification, branches run with a graph, whatever is known.
  if (first.may_outlive && !seen.needs_graph &&
      (verifies || !WithoutVerification::is_active())) {
    seen.needs_graph = !verifies || leaves_a_graph(call, x);
    facts.keeps_graphs = seen.needs_graph;
  }
  // What is no value of the branch is refused for what it is.
  if (verifies && first.value.defined() && first.value.device() == x.device()) {
    verify(call, x, first.value, seen);
  }
  if (seen.writes_parameters) {
    parameter_versions_ = TensorVersions(parameters_);
  }
  facts.searched = true;
  call.record.learn(std::move(seen));
  return std::move(first.value);
}

}  // namespace detail
}  // namespace torchrev
