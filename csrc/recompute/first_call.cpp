#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/variable.h>

#include <exception>
#include <string>
#include <utility>

#include "recompute/graph_mode.h"
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

// The nodes at which gradients of `parameters` would arrive: a graph that ends
// in one of them holds it.
class Accumulators {
 public:
  explicit Accumulators(const std::vector<Tensor>& parameters) {
    for (const auto& parameter : parameters) {
      if (parameter.requires_grad() && parameter.is_leaf()) {
        nodes_.push_back(torch::autograd::impl::grad_accumulator(parameter));
      }
    }
    before_ = count();
  }
  bool are_held_more() const {
    return count() > before_;
  }

 private:
  std::size_t count() const {
    std::size_t sum = 0;
    for (const auto& node : nodes_) {
      sum += node.use_count();
    }
    return sum;
  }

  std::vector<compat::NodePtr> nodes_;
  std::size_t before_ = 0;
};

}  // namespace

// NOTE [Search]
// A tensor that requires grad and was not declared shows in the graph of its
// branch. That graph is built in backward only, or never if nothing declared
// requires grad. So the first call of a branch builds one, which is looked
// through and dropped.

template <typename Run>
void RecordedBranch::run_in_graph(
    LocalGraph& graph, const Tensor& x, const Run& run, InGraph& result) {
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

template <typename Run>
RecordedBranch::InGraph RecordedBranch::in_graph(
    const Tensor& x, const Run& run) {
  const at::AutoGradMode grad_mode(true);
  const Accumulators accumulators(parameters_);
  InGraph result;
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
  if (seen->needs_graph || unknown || !ran_without_graph(call, x, value)) {
    value =
        in_graph(x, [&](const Tensor& x, const Arguments& arguments) {
          return call.record.run(x, arguments.context, arguments.parameters);
        }).value;
    if (!unknown) {
      call.record.note_graph();
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
  const auto end = call.record.generators();
  BranchFacts::Seen seen;
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
  seen.changed_buffers = call.record.settle();
  // What is no value of the branch is refused for what it is.
  if (verifies && first.value.defined() && first.value.device() == x.device()) {
    verify(call, x, first.value, end, seen);
  }
  if (seen.writes_parameters) {
    parameter_versions_ = TensorVersions(parameters_);
  }
  facts.searched = true;
  call.record.learn(std::move(seen));
  return std::move(first.value);
}

void RecordedBranch::verify(
    const Call& call,
    const Tensor& x,
    Tensor& value,
    const RandomState& end,
    BranchFacts::Seen& seen) {
  bool drew_otherwise = false;
  // A parameter that was renormalised once may be, by a rounding, once more.
  const bool rounds = seen.writes_parameters;
  const auto replay = [&](const Tensor& x, const Arguments& arguments) {
    Replay replay(call.record);
    replay.expect_end(end);
    auto again = replay(x, arguments.context, arguments.parameters);
    drew_otherwise = replay.drew_otherwise();
    return again;
  };
  if (!seen.needs_graph) {
    try {
      const WithoutGraph without;
      seen.verified =
          gave_the_same(value, replay(x, {context_, parameters_}), rounds);
    } catch (const std::exception&) {
      // Shows again below, if it is not for want of a graph.
    }
    if (seen.verified || drew_otherwise) {
      return;
    }
    seen.needs_graph = true;
  }
  auto again = in_graph(x, replay).value;
  seen.verified = gave_the_same(value, again, rounds);
  if (!seen.verified && branch_->callable().needs_graph()) {
    // The executor of TorchScript optimises after a first run, and old releases
    // then draw in another order: what backward will see is the value.
    seen.verified = gave_the_same(again, in_graph(x, replay).value, rounds);
    value = std::move(again);
  }
  // Where another thread drew meanwhile, the next call is the first.
  check_gave_the_same(place_, seen.verified || drew_otherwise);
}

}  // namespace detail
}  // namespace torchrev
