#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/edge.h>

#include <functional>
#include <map>
#include <memory>
#include <unordered_set>
#include <utility>
#include <vector>

#include "check.h"
#include "compat.h"

namespace torchrev {
namespace detail {

using at::Tensor;
using torch::autograd::Edge;
using torch::autograd::variable_list;

// Back-propagates through one recomputed branch, isolated from everything
// around it: no hook of the user's runs, no `.grad` is written, no node outside
// the branch is executed or changed.
//
// NOTE [Sinks]
// Every way out of the local graph ends in a private node, a sink, at which the
// engine captures the gradient. An input (`enter`) gets a sink as its grad_fn.
// A tensor that the branch uses by itself, as a module does with its parameters
// (`declare`), has a node of its own already, AccumulateGrad if it is a leaf,
// and every edge into it is redirected to a sink once the whole graph has been
// seen to end in declared tensors only.
// For double backward a sink passes its gradient on along the edge that it
// stands for: second derivatives then reach the real inputs.
//
//
// NOTE [Threads in a branch]
// A node tells the thread that made it, and when, in that thread's count. One
// of this thread that is older than the graph is captured. One of another
// thread is taken for a part of the branch's work that it has handed to that
// thread: a captured one was found at the first call, which runs in the thread
// of forward.
//
// Use: construct, enter and declare, run the branch with grad mode on, check;
// then either backward and gradient(handle), or receive(handle) and deliver.
class LocalGraph {
 public:
  // Names a tensor that was entered or declared.
  class Handle {
   public:
    Handle() = default;

   private:
    friend class LocalGraph;
    explicit Handle(std::size_t end) : end_(end) {}
    std::size_t end_ = 0;
  };

  // Where the gradient of an entered tensor goes: along `edge` for second
  // derivatives, and to the caller if it is wanted. Without an edge it goes
  // nowhere, and the tensor requires grad only if that is said.
  struct Outer {
    Edge edge;
    bool wanted = false;
    bool requires_grad = false;
  };

  // Of a tensor that requires grad where nothing is back-propagated.
  static const Outer kNowhere;

  struct Entered {
    Tensor alias;
    Handle handle;
  };

  // `differentiable`: whether the gradients are to be differentiable.
  explicit LocalGraph(bool differentiable);
  // Of a forward that needs a graph while it runs: nothing is back-propagated,
  // and a backward pass through what is left of it is an error. What is entered
  // requires grad where the tensor does.
  struct Dropped {};
  explicit LocalGraph(Dropped);
  ~LocalGraph();
  LocalGraph(const LocalGraph&) = delete;
  LocalGraph& operator=(const LocalGraph&) = delete;

  // An alias of `value` for the branch to use.
  Entered enter(const Tensor& value, const Outer& outer);

  // A tensor that requires grad and that the branch uses directly.
  Handle declare(const Tensor& tensor, bool wanted);

  // Throws c10::ValueError, naming `place`, if the graph of `out`
  // ends in a tensor that was neither entered nor declared.
  void check(const Place& place, const Tensor& out);

  // Whether what was checked depends on the declared tensor of `handle`.
  bool reaches(Handle handle) const;

  // Expires when the last node goes that depends on what was entered.
  std::weak_ptr<void> life() const {
    return life_;
  }

  // Back-propagates `grads`, those of the tensors that were checked. Uses up
  // the graph; the gradients wait for gradient().
  void backward(at::TensorList grads);

  // What flowed to the tensor of `handle` in backward(): undefined where
  // nothing did or nothing was wanted. Hands it out once.
  Tensor gradient(Handle handle);

  // Lets deliver() hand the gradient of `handle` to `receive`.
  using Receive = std::function<void(Tensor)>;
  void receive(Handle handle, Receive receive);

  // As backward(), but hands each gradient to its receiver as soon as it is
  // there, so that they do not all exist at once. Those without one are
  // dropped.
  void deliver(at::TensorList grads);

 private:
  struct End {
    Tensor declared;
    // Of `declared`: along which it passes its gradient on.
    Edge outer;
    bool wanted = false;
    bool reached = false;
    compat::NodePtr sink = nullptr;
    Receive receive = nullptr;
    Tensor gradient = {};

    bool captures() const {
      return wanted && sink;
    }
  };
  // An edge into a declared end: of `node`, or of the roots if that is null.
  struct Link {
    torch::autograd::Node* node;
    std::size_t edge;
    std::size_t end;
  };

  compat::NodePtr make_sink(const Tensor& value, const Edge& outer) const;
  bool is_sink(const torch::autograd::Node* node) const;
  const compat::NodePtr& sink_of(std::size_t end);
  // The declared end that `edge` leads to, or -1 for an inner one.
  int64_t end_of(const Place& place, const Edge& edge) const;
  void link(torch::autograd::Node* node, std::size_t edge, int64_t end);
  void walk(const Place& place, torch::autograd::Node* root);
  void redirect();
  variable_list execute(
      at::TensorList grads, const torch::autograd::edge_list& captured);

  bool differentiable_;
  bool dropped_ = false;
  // The sinks own it; the graph does while it lives.
  std::shared_ptr<void> life_;
  uint64_t thread_;
  uint64_t sequence_;
  std::vector<End> ends_;
  std::map<std::pair<const torch::autograd::Node*, uint32_t>, std::size_t>
      by_edge_;
  std::vector<Link> links_;
  std::unordered_set<torch::autograd::Node*> seen_;
  // Of the tensors that were checked; invalid for one without a graph.
  torch::autograd::edge_list roots_;
};

}  // namespace detail
}  // namespace torchrev
