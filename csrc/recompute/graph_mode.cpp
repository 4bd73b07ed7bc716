#include "recompute/graph_mode.h"

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/variable.h>

#include <utility>

#include "check.h"
#include "compat.h"

namespace torchrev {
namespace detail {

namespace {

class Refusal final : public torch::autograd::Node {
 public:
  Refusal(const Tensor& tensor, torch::autograd::edge_list edges)
      : Node(std::move(edges)) {
    add_input_metadata(tensor);
  }
  torch::autograd::variable_list apply(
      torch::autograd::variable_list&& /*grads*/) override {
    throw_kept_by_branch();
  }
};

}  // namespace

bool records_graph() {
  return at::GradMode::is_enabled() &&
         !c10::impl::tls_is_dispatch_key_excluded(
             c10::DispatchKey::AutogradFunctionality);
}

Tensor tracked_as(const Tensor& stream, Tensor input) {
  // A view that was made without a graph requires grad, and leads nowhere.
  if (!stream.requires_grad() || input.is_same(stream) || records_graph()) {
    return input;
  }
  auto alias = input.detach();
  torch::autograd::impl::set_gradient_edge(
      alias, torch::autograd::impl::gradient_edge(stream));
  return alias;
}

Tensor refusing_alias(
    const Tensor& tensor, const torch::autograd::edge_list& edges) {
  auto alias = tensor.detach();
  torch::autograd::impl::set_gradient_edge(
      alias, {compat::make_node<Refusal>(tensor, edges), 0});
  return alias;
}

void throw_kept_by_branch() {
  TORCHREV_CHECK(
      ValueError,
      false,
      "Branch",
      "what a branch computes and keeps, in a member or an attribute, to be "
      "used without gradients outside of it",
      "a backward pass through it",
      "Its graph ended with the branch's forward: return it from the branch as "
      "part of the streams, or detach() it.");
}

}  // namespace detail
}  // namespace torchrev
