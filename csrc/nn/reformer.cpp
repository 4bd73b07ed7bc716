#include <torchrev/nn/reformer.h>

#include <torch/csrc/api/include/torch/nn/modules/activation.h>
#include <torch/csrc/api/include/torch/nn/modules/container/functional.h>

#include <functional>

#include "nn/clone.h"
#include "nn/reformer_options.h"

namespace torchrev {
namespace nn {

namespace {

constexpr auto kEntry = "nn::Reformer";

// Appends the activation that is given to `layers`.
struct AppendActivation {
  torch::nn::Sequential& layers;

  void operator()(torch::enumtype::kGELU /*activation*/) const {
    layers->push_back(torch::nn::GELU());
  }
  void operator()(torch::enumtype::kReLU /*activation*/) const {
    layers->push_back(torch::nn::ReLU());
  }
  void operator()(const std::function<Tensor(const Tensor&)>& fn) const {
    layers->push_back(torch::nn::Functional(fn));
  }
};

torch::nn::Sequential feed_forward(const ReformerOptions& options) {
  torch::nn::Sequential layers(
      detail::layer_norm(options.d_model()),
      torch::nn::Linear(options.d_model(), options.dim_feedforward()));
  // Unqualified: std's, or c10's in old releases.
  visit(AppendActivation{layers}, options.activation());
  layers->push_back(torch::nn::Dropout(options.dropout()));
  layers->push_back(
      torch::nn::Linear(options.dim_feedforward(), options.d_model()));
  layers->push_back(torch::nn::Dropout(options.dropout()));
  return layers;
}

Branch attention(const ReformerOptions& options) {
  const auto branch = options.attention() == "lsh"
                          ? Branch(LSHAttention(options))
                          : Branch(FullAttention(options));
  return branch.context({0});
}

}  // namespace

ReformerImpl::ReformerImpl(const ReformerOptions& options) : options(options) {
  detail::check_reformer(kEntry, options);
  stack = register_module(
      "stack",
      ReversibleSequential(ReversibleSequentialOptions(options.reversible())
                               .memory_budget(options.memory_budget())));
  for (int64_t layer = 0; layer < options.num_layers(); ++layer) {
    stack->push_back(attention(options), feed_forward(options));
  }
  norm = register_module("norm", detail::layer_norm(options.d_model()));
}

Tensor ReformerImpl::forward(const Tensor& x, const Tensor& padding) {
  detail::check_reformer_input(kEntry, options, x, padding);
  return norm(stack->forward(x, {padding}));
}

std::shared_ptr<torch::nn::Module> ReformerImpl::clone(
    const torch::optional<c10::Device>& device) const {
  auto copy = std::make_shared<ReformerImpl>(*this);
  copy->stack = copy->replace_module("stack", detail::clone_of(stack, device));
  copy->norm = copy->replace_module("norm", detail::clone_of(norm, device));
  return copy;
}

void ReformerImpl::clone_(
    torch::nn::Module& other, const torch::optional<c10::Device>& device) {
  detail::become_clone(*this, other, device);
}

void ReformerImpl::pretty_print(std::ostream& stream) const {
  stream << "torchrev::nn::Reformer(d_model=" << options.d_model()
         << ", nhead=" << options.nhead()
         << ", num_layers=" << options.num_layers() << ")";
}

}  // namespace nn
}  // namespace torchrev
