#include "recompute/recorded_branch.h"

#include <ATen/core/grad_mode.h>

#include <utility>

#include "branch/checked_call.h"

namespace torchrev {
namespace detail {

RecordedBranch::RecordedBranch(
    const Place& place,
    const Branch& branch,
    at::TensorList context,
    const Chunks& chunks,
    const RecordOptions& options)
    : place_(place),
      branch_(branch),
      chunks_(chunks),
      options_(options),
      context_(branch.select(context)),
      parameters_(branch.parameters()),
      context_versions_(context_),
      parameter_versions_(parameters_) {}

variable_list RecordedBranch::declared() const {
  variable_list tensors;
  for (const auto* list : {&context_, &parameters_}) {
    for (const auto& tensor : *list) {
      if (tensor.defined() && tensor.requires_grad()) {
        tensors.push_back(tensor);
      }
    }
  }
  return tensors;
}

Tensor RecordedBranch::run(
    const Tensor& x, at::IntArrayRef sizes, const Mode& mode) {
  auto value = checked_call(place_, x, sizes, [&] {
    return mode.search ? run_and_search(x, mode.record)
                       : run(x, {context_, parameters_}, mode.record);
  });
  if (mode.record) {
    calls_.back().sizes = value.sizes();
    calls_.back().dtype = value.scalar_type();
  }
  return value;
}

Tensor RecordedBranch::run(
    const Tensor& x, const Arguments& arguments, bool record) {
  if (!record) {
    return branch_.callable().forward(
        x, arguments.context, arguments.parameters);
  }
  calls_.emplace_back(branch_, x, options_);
  return calls_.back().record.run(
      place_, x, arguments.context, arguments.parameters);
}

// NOTE [Search]
// A tensor that requires grad and was not declared shows in the graph of its
// branch. That graph is built in backward only, or never if nothing declared
// requires grad. So the first call of a branch for which it matters runs with
// grad mode on and all its inputs detached; the graph is looked through and
// dropped.
Tensor RecordedBranch::run_and_search(const Tensor& x, bool record) {
  torch::AutoGradMode grad_mode(true);
  LocalGraph graph(/*differentiable=*/false);
  const auto input = graph.enter(x, {});
  const auto arguments = enter(graph, context_, {}, [](auto /*handle*/) {});
  auto value = run(input.alias, arguments, record);
  graph.check(place_, value);
  branch_.searched() = true;
  return value.defined() ? value.detach() : value;
}

variable_list RecordedBranch::release_context() {
  return std::exchange(context_, {});
}

void RecordedBranch::check_unchanged(const variable_list& context) const {
  context_versions_.check(place_, "context", context);
  parameter_versions_.check(place_, "parameters", parameters_);
}

RecordedBranch::Recompute::~Recompute() {
  while (!replays_.empty()) {
    replays_.pop_back();
  }
}

RecordedBranch::Recompute RecordedBranch::recompute(
    LocalGraph& graph,
    const Tensor& x,
    const variable_list& context,
    const std::vector<LocalGraph::Outer>& outers) const {
  return recompute_by(graph, context, outers, [&](const auto& replay) {
    return chunks_.map(x, replay);
  });
}

RecordedBranch::Recompute RecordedBranch::recompute_chunk(
    LocalGraph& graph,
    std::size_t chunk,
    const Tensor& x,
    const variable_list& context,
    const std::vector<LocalGraph::Outer>& outers) const {
  return recompute_by(graph, context, outers, [&](const auto& replay) {
    return replay(x, chunk);
  });
}

template <typename Run>
RecordedBranch::Recompute RecordedBranch::recompute_by(
    LocalGraph& graph,
    const variable_list& context,
    const std::vector<LocalGraph::Outer>& outers,
    const Run& run) const {
  Recompute recompute;
  recompute.declared.reserve(outers.size());
  const auto arguments = enter(graph, context, outers, [&](auto handle) {
    recompute.declared.push_back(handle);
  });
  recompute.value = run([&](const Tensor& part, std::size_t i) {
    return replay(recompute, i, part, arguments);
  });
  return recompute;
}

Tensor RecordedBranch::replay(
    Recompute& recompute,
    std::size_t chunk,
    const Tensor& x,
    const Arguments& arguments) const {
  const auto& call = calls_[chunk];
  recompute.replays_.push_back(std::make_unique<Replay>(call.record));
  auto value = in_recompute(place_, [&] {
    return (*recompute.replays_.back())(
        x, arguments.context, arguments.parameters);
  });
  const bool same = value.defined() && value.sizes() == call.sizes &&
                    value.scalar_type() == call.dtype &&
                    value.device() == x.device();
  TORCHREV_CHECK(
      ValueError,
      same,
      place_.entry,
      c10::str(
          "the recompute of ",
          place_,
          " to return shape ",
          at::IntArrayRef(call.sizes),
          " and dtype ",
          call.dtype,
          " as its forward did"),
      value.defined() ? c10::str(value.sizes(), " and ", value.scalar_type())
                      : "an undefined tensor",
      "A branch is a function of its arguments, parameters and buffers.");
  return value;
}

// Counts `outers` along with the tensors that require grad, which are those of
// declared() and in its order.
template <typename Note>
RecordedBranch::Arguments RecordedBranch::enter(
    LocalGraph& graph,
    const variable_list& context,
    const std::vector<LocalGraph::Outer>& outers,
    const Note& note) const {
  auto outer = outers.begin();
  const auto next = [&]() -> const LocalGraph::Outer& {
    return outers.empty() ? LocalGraph::kNowhere : *outer++;
  };
  const auto alias = [&](const Tensor& tensor) {
    if (!tensor.defined() || !tensor.requires_grad()) {
      return tensor;
    }
    auto entered = graph.enter(tensor, next());
    note(entered.handle);
    return std::move(entered.alias);
  };
  Arguments arguments;
  for (const auto& tensor : context) {
    arguments.context.push_back(alias(tensor));
  }
  for (const auto& tensor : parameters_) {
    if (branch_.callable().takes_parameters()) {
      arguments.parameters.push_back(alias(tensor));
    } else if (tensor.requires_grad()) {
      note(graph.declare(tensor, next().wanted));
    }
  }
  return arguments;
}

void RecordedBranch::forget() {
  calls_.clear();
}

}  // namespace detail
}  // namespace torchrev
