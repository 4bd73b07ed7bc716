#include "recompute/local_graph.h"

#include <ATen/SequenceNumber.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <string>
#include <utility>

#include "recompute/graph_mode.h"

namespace torchrev {
namespace detail {

namespace {

using torch::autograd::AccumulateGrad;
using torch::autograd::Node;

class Sink final : public Node {
 public:
  Sink(const Tensor& value, const Edge& outer) {
    add_input_metadata(value);
    if (outer.is_valid()) {
      add_next_edge(outer);
    }
  }

  variable_list apply(variable_list&& grads) override {
    if (refuses) {
      throw_kept_by_branch();
    }
    if (receive && grads[0].defined()) {
      receive(std::move(grads[0]));
    }
    return num_outputs() == 0 ? variable_list() : std::move(grads);
  }

  std::string name() const override {
    return "torchrev::Sink";
  }

  std::function<void(Tensor)> receive;
  // Once the graph has done its work, or if it has none to do.
  bool refuses = false;
  std::shared_ptr<void> life;
};

[[noreturn]] void throw_undeclared(
    const Place& place, const std::string& what) {
  TORCHREV_CHECK(
      ValueError,
      false,
      place.entry,
      c10::str(
          "every tensor that requires grad inside ", place, " to be declared"),
      what,
      "Register it with the module, or hand it to Branch::function(fn, "
      "parameters) or to the call as context, and use it from the arguments; "
      "detach() it if it is not to be trained. If it has replaced a parameter "
      "since forward, call backward first.");
}

}  // namespace

LocalGraph::LocalGraph(bool differentiable)
    : differentiable_(differentiable),
      thread_(at::RecordFunction::currentThreadId()),
      sequence_(at::sequence_number::peek()) {
  // Most branches have an input and the parameters of a layer: no growing.
  ends_.reserve(4);
}

LocalGraph::LocalGraph(Dropped) : LocalGraph(/*differentiable=*/false) {
  dropped_ = true;
  life_ = std::make_shared<char>();
}

LocalGraph::~LocalGraph() {
  for (auto& end : ends_) {
    if (end.sink && !differentiable_) {
      static_cast<Sink&>(*end.sink).refuses = true;
    }
  }
}

const LocalGraph::Outer LocalGraph::kNowhere = {Edge(), false, true};

compat::NodePtr LocalGraph::make_sink(
    const Tensor& value, const Edge& outer) const {
  const bool passes_on = differentiable_ || dropped_;
  auto sink = compat::make_node<Sink>(value, passes_on ? outer : Edge());
  sink->life = life_;
  return sink;
}

LocalGraph::Entered LocalGraph::enter(const Tensor& value, const Outer& outer) {
  const Handle handle(ends_.size());
  ends_.push_back({{}, {}, outer.wanted && outer.edge.is_valid()});
  if (!value.defined()) {
    return {value, handle};
  }
  Tensor alias = value.detach();
  // A dropped graph leads on, so that a pass that asks for what lies before it
  // comes by, and is refused.
  const auto edge = dropped_ && value.requires_grad()
                        ? torch::autograd::impl::gradient_edge(value)
                        : outer.edge;
  if (edge.is_valid() || outer.requires_grad) {
    ends_.back().sink = make_sink(value, edge);
    torch::autograd::impl::set_gradient_edge(alias, {ends_.back().sink, 0});
  }
  return {std::move(alias), handle};
}

LocalGraph::Handle LocalGraph::declare(const Tensor& tensor, bool wanted) {
  const Handle handle(ends_.size());
  const auto outer = torch::autograd::impl::gradient_edge(tensor);
  by_edge_.emplace(
      std::make_pair(outer.function.get(), outer.input_nr), handle.end_);
  ends_.push_back({tensor, outer, wanted});
  return handle;
}

bool LocalGraph::is_sink(const Node* node) const {
  return std::any_of(ends_.begin(), ends_.end(), [node](const End& end) {
    return end.sink.get() == node;
  });
}

const compat::NodePtr& LocalGraph::sink_of(std::size_t end) {
  auto& declared = ends_[end];
  if (!declared.sink) {
    declared.sink = make_sink(declared.declared, declared.outer);
  }
  return declared.sink;
}

int64_t LocalGraph::end_of(const Place& place, const Edge& edge) const {
  Node* node = edge.function.get();
  const auto found = by_edge_.find({node, edge.input_nr});
  if (found != by_edge_.end()) {
    return static_cast<int64_t>(found->second);
  }
  if (const auto* accumulate = dynamic_cast<AccumulateGrad*>(node)) {
    throw_undeclared(
        place,
        c10::str("a captured leaf of shape ", accumulate->variable.sizes()));
  }
  // See NOTE [Threads in a branch].
  if (node->thread_id() == thread_ && node->sequence_nr() < sequence_) {
    throw_undeclared(place, "a captured result of " + node->name());
  }
  return -1;
}

void LocalGraph::link(Node* node, std::size_t edge, int64_t end) {
  const auto number = static_cast<std::size_t>(end);
  ends_[number].reached = true;
  links_.push_back({node, edge, number});
}

bool LocalGraph::reaches(Handle handle) const {
  return ends_[handle.end_].reached;
}

void LocalGraph::check(const Place& place, const Tensor& out) {
  const bool has_graph = out.defined() && out.requires_grad();
  roots_.push_back(
      has_graph ? torch::autograd::impl::gradient_edge(out) : Edge());
  const auto& root = roots_.back();
  if (!has_graph || is_sink(root.function.get())) {
    return;
  }
  const auto end = end_of(place, root);
  if (end >= 0) {
    link(nullptr, roots_.size() - 1, end);
  } else if (seen_.insert(root.function.get()).second) {
    walk(place, root.function.get());
  }
}

void LocalGraph::walk(const Place& place, Node* root) {
  std::vector<Node*> pending{root};
  while (!pending.empty()) {
    Node* node = pending.back();
    pending.pop_back();
    for (std::size_t i = 0; i < node->num_outputs(); ++i) {
      const auto& next = node->next_edge(i);
      if (!next.is_valid() || is_sink(next.function.get())) {
        continue;
      }
      const auto end = end_of(place, next);
      if (end >= 0) {
        link(node, i, end);
      } else if (seen_.insert(next.function.get()).second) {
        pending.push_back(next.function.get());
      }
    }
  }
}

void LocalGraph::redirect() {
  for (const auto& link : links_) {
    const Edge edge(sink_of(link.end), 0);
    (link.node ? link.node->next_edges()[link.edge] : roots_[link.edge]) = edge;
  }
}

// Runs every node if nothing is captured.
variable_list LocalGraph::execute(
    at::TensorList grads, const torch::autograd::edge_list& captured) {
  torch::autograd::edge_list roots;
  variable_list inputs;
  for (std::size_t i = 0; i < roots_.size(); ++i) {
    if (roots_[i].is_valid() && grads[i].defined()) {
      roots.push_back(std::move(roots_[i]));
      inputs.push_back(grads[i]);
    }
  }
  roots_.clear();
  if (roots.empty()) {
    return variable_list(captured.size());
  }
  return torch::autograd::Engine::get_default_engine().execute(
      roots,
      inputs,
      /*keep_graph=*/differentiable_,
      /*create_graph=*/differentiable_,
      /*accumulate_grad=*/captured.empty(),
      captured);
}

void LocalGraph::backward(at::TensorList grads) {
  redirect();
  torch::autograd::edge_list captured;
  for (const auto& end : ends_) {
    if (end.captures()) {
      captured.emplace_back(end.sink, 0);
    }
  }
  if (captured.empty()) {
    return;
  }
  auto results = execute(grads, captured);
  auto result = results.begin();
  for (auto& end : ends_) {
    if (end.captures()) {
      end.gradient = std::move(*result++);
    }
  }
}

Tensor LocalGraph::gradient(Handle handle) {
  return std::exchange(ends_[handle.end_].gradient, Tensor());
}

void LocalGraph::receive(Handle handle, Receive receive) {
  ends_[handle.end_].receive = std::move(receive);
}

void LocalGraph::deliver(at::TensorList grads) {
  redirect();
  for (auto& end : ends_) {
    if (end.captures()) {
      static_cast<Sink&>(*end.sink).receive = std::move(end.receive);
    }
  }
  execute(grads, {});
}

}  // namespace detail
}  // namespace torchrev
