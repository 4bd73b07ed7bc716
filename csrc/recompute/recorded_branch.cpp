#include "recompute/recorded_branch.h"

#include <algorithm>
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
    return mode.record ? record(x) : run_unrecorded(x, mode.search);
  });
  if (mode.record) {
    calls_.back().sizes = value.sizes();
    calls_.back().dtype = value.scalar_type();
    // Where random numbers differ, so do the values.
    if (may_lose_parameters() && options_.preserve_rng_state) {
      calls_.back().sample = Sample(value);
    }
  }
  return value;
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
  const auto arguments = enter(graph, context, outers, recompute.declared);
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
  check_not_replaced(recompute.replays_.back()->callable());
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
  if (call.sample.is_taken()) {
    recompute.differs_ |= !call.sample.is_like(Sample(value));
  }
  return value;
}

// Counts `outers` along with the tensors that require grad, which are those of
// declared() and in its order.
RecordedBranch::Arguments RecordedBranch::enter(
    LocalGraph& graph,
    const variable_list& context,
    const std::vector<LocalGraph::Outer>& outers,
    std::vector<LocalGraph::Handle>& handles) const {
  auto outer = outers.begin();
  const auto next = [&]() -> const LocalGraph::Outer& {
    return outers.empty() ? LocalGraph::kNowhere : *outer++;
  };
  const auto alias = [&](const Tensor& tensor) {
    if (!tensor.defined() || !tensor.requires_grad()) {
      return tensor;
    }
    auto entered = graph.enter(tensor, next());
    handles.push_back(entered.handle);
    return std::move(entered.alias);
  };
  Arguments arguments;
  for (const auto& tensor : context) {
    arguments.context.push_back(alias(tensor));
  }
  for (const auto& tensor : parameters_) {
    if (branch_->callable().takes_parameters()) {
      arguments.parameters.push_back(alias(tensor));
    } else if (tensor.requires_grad()) {
      handles.push_back(graph.declare(tensor, next().wanted));
    }
  }
  return arguments;
}

// A TorchScript module has got its parameters back from the replay by now. The
// members of another module cannot be written from here.
void RecordedBranch::check_not_replaced(const Callable& callable) const {
  if (callable.takes_parameters()) {
    return;
  }
  const auto now = callable.parameters();
  for (std::size_t i = 0; i < std::max(now.size(), parameters_.size()); ++i) {
    TORCHREV_CHECK(
        ValueError,
        i < now.size() && i < parameters_.size() &&
            now[i].is_same(parameters_[i]),
        place_.entry,
        c10::str("the parameters of ", place_, " to be those of forward"),
        i < parameters_.size() ? c10::str(
                                     "one of shape ",
                                     parameters_[i].sizes(),
                                     " that was replaced by another tensor")
                               : "more of them",
        "Call backward before you replace a parameter, or write to it "
        "(copy_) in place of replacing it.");
  }
}

// Members of a C++ module may be assigned.
bool RecordedBranch::may_lose_parameters() const {
  return !parameters_.empty() && !branch_->callable().takes_parameters();
}

// A member that is assigned a frozen tensor leaves few signs: the parameter is
// registered still, and the recompute does not use it. Nor may a branch that
// chooses by its input. But that parameter has lost a handle, if nobody has
// taken another one since, and the value differs, if the tensors do.
void RecordedBranch::check_used(
    const LocalGraph& graph, const Recompute& recompute) const {
  const auto& seen = calls_.front().record.seen();
  if (!seen || branch_->callable().takes_parameters()) {
    return;
  }
  // The graph holds one, too, and so does each replay that will put back what
  // the branch has written.
  const auto replays =
      calls_.front().record.writes() ? recompute.replays_.size() : 0;
  for_each_trained(recompute.declared, [&](std::size_t i, auto handle) {
    TORCHREV_CHECK(
        ValueError,
        graph.reaches(handle) || i >= seen->used_parameters.size() ||
            !seen->used_parameters[i] ||
            !(recompute.differs_ || parameter_versions_.lost_a_handle(
                                        i, parameters_[i], 1 + replays)),
        place_.entry,
        c10::str(
            "the recompute of ", place_, " to use the parameters of forward"),
        c10::str(
            "one of shape ",
            parameters_[i].sizes(),
            " that a member of the module held in forward and does not hold "
            "now"),
        "Call backward before you assign another tensor to the member.");
  });
}

bool RecordedBranch::needs_graph() const {
  const auto& seen = calls_.front().record.seen();
  return !seen || seen->needs_graph || may_lose_parameters();
}

void RecordedBranch::forget() {
  calls_.clear();
  branch_ = torch::nullopt;
}

}  // namespace detail
}  // namespace torchrev
