#include <torchrev/nn/reversible.h>

#include <ATen/core/grad_mode.h>
#include <torch/csrc/api/include/torch/nn/modules/linear.h>
#include <torchrev/coupling.h>
#include <torchrev/reversible.h>

#include <algorithm>
#include <cmath>

#include "check.h"
#include "measure/planner.h"
#include "nn/clone.h"
#include "options.h"
#include "stack/checked_run.h"

namespace torchrev {
namespace nn {

namespace {

// The most branches whose inverse, a division by `momentum` each, makes a
// rounding error at most 10^6 times larger. Room is left between that and the
// 10^9 between the roundings of float64 and float32: a float32 branch rounds a
// stream that is off by little to another number now and then, and what that
// changes in its result grows in turn.
int64_t branches_within_rounding(double momentum) {
  return std::max<int64_t>(
      1, static_cast<int64_t>(std::log(1e6) / -std::log(momentum)));
}

// train() reaches every submodule, so parents come first.
void copy_training(const torch::nn::Module& from, torch::nn::Module& to) {
  const auto source =
      const_cast<torch::nn::Module&>(from).modules(/*include_self=*/false);
  const auto target = to.modules(/*include_self=*/false);
  to.train(from.is_training());
  for (std::size_t i = 0; i < source.size(); ++i) {
    target[i]->train(source[i]->is_training());
  }
}

detail::Stack stack_of(
    const ReversibleSequentialImpl& module,
    const std::vector<Tensor>& context) {
  return {
      "nn::ReversibleSequential",
      module.branches,
      context,
      module.options.reversible()};
}

// What a call runs with. Without a budget, nothing is made ready for a plan.
ReversibleOptions options_of(
    detail::Planner& planner,
    const ReversibleSequentialImpl& module,
    at::TensorList x,
    const std::vector<Tensor>& context) {
  const auto budget = module.options.memory_budget();
  return budget
             ? planner.options_of({stack_of(module, context), x.vec()}, *budget)
             : module.options.reversible();
}

}  // namespace

ReversibleBlockImpl::ReversibleBlockImpl(
    Branch f, Branch g, ReversibleOptions options)
    : branches{std::move(f), std::move(g)}, options(std::move(options)) {
  register_module("f", branches.f.module());
  register_module("g", branches.g.module());
}

Tensor ReversibleBlockImpl::forward(
    const Tensor& x, const std::vector<Tensor>& context) {
  return reversible_residual(branches, x, context, options);
}

Tensor ReversibleBlockImpl::inverse(
    const Tensor& y, const std::vector<Tensor>& context) {
  return reversible_residual_inverse(branches, y, context, options);
}

std::tuple<Tensor, Tensor> ReversibleBlockImpl::forward_streams(
    const Tensor& x1, const Tensor& x2, const std::vector<Tensor>& context) {
  return reversible_block(branches.f, branches.g, x1, x2, context, options);
}

std::tuple<Tensor, Tensor> ReversibleBlockImpl::inverse_streams(
    const Tensor& y1, const Tensor& y2, const std::vector<Tensor>& context) {
  return reversible_block_inverse(
      branches.f, branches.g, y1, y2, context, options);
}

std::shared_ptr<torch::nn::Module> ReversibleBlockImpl::clone(
    const torch::optional<c10::Device>& device) const {
  auto copy = std::make_shared<ReversibleBlockImpl>(
      branches.f.clone(device), branches.g.clone(device), options);
  copy_training(*this, *copy);
  return copy;
}

void ReversibleBlockImpl::clone_(
    torch::nn::Module& other, const torch::optional<c10::Device>& device) {
  detail::become_clone(*this, other, device);
}

void ReversibleBlockImpl::pretty_print(std::ostream& stream) const {
  stream << "torchrev::nn::ReversibleBlock(" << detail::printed(options) << ")";
}

ReversibleSequentialOptions::ReversibleSequentialOptions(
    ReversibleOptions reversible)
    : reversible_(std::move(reversible)) {}

ReversibleSequentialImpl::ReversibleSequentialImpl(
    ReversibleSequentialOptions options)
    : options(std::move(options)),
      planner_(std::make_shared<detail::Planner>()) {}

void ReversibleSequentialImpl::push_back(Branch f, Branch g) {
  register_module(
      std::to_string(size()), ReversibleBlock(f, g, options.reversible()));
  branches.push_back({std::move(f), std::move(g)});
}

Tensor ReversibleSequentialImpl::forward(
    const Tensor& x, const std::vector<Tensor>& context) {
  return is_empty() ? x
                    : reversible_residual(
                          branches,
                          x,
                          context,
                          options_of(*planner_, *this, {x}, context));
}

Tensor ReversibleSequentialImpl::inverse(
    const Tensor& y, const std::vector<Tensor>& context) {
  return is_empty() ? y
                    : reversible_residual_inverse(
                          branches, y, context, options.reversible());
}

std::tuple<Tensor, Tensor> ReversibleSequentialImpl::forward_streams(
    const Tensor& x1, const Tensor& x2, const std::vector<Tensor>& context) {
  return is_empty() ? std::make_tuple(x1, x2)
                    : reversible_sequence(
                          branches,
                          x1,
                          x2,
                          context,
                          options_of(*planner_, *this, {x1, x2}, context));
}

std::tuple<Tensor, Tensor> ReversibleSequentialImpl::inverse_streams(
    const Tensor& y1, const Tensor& y2, const std::vector<Tensor>& context) {
  return is_empty() ? std::make_tuple(y1, y2)
                    : reversible_sequence_inverse(
                          branches, y1, y2, context, options.reversible());
}

Plan ReversibleSequentialImpl::plan(
    const Tensor& x, const std::vector<Tensor>& context) {
  return is_empty()
             ? Plan()
             : planner_->plan(
                   {stack_of(*this, context), {x}}, options.memory_budget());
}

std::vector<BlockDrift> ReversibleSequentialImpl::drift(
    const Tensor& x, const std::vector<Tensor>& context) {
  detail::check_residual(
      "nn::ReversibleSequential", "x", x, options.reversible().streams());
  if (is_empty()) {
    return {};
  }
  const auto streams = detail::split(x, options.reversible().streams());
  return torchrev::drift(
      branches, streams[0], streams[1], context, options.reversible());
}

std::size_t ReversibleSequentialImpl::size() const noexcept {
  return branches.size();
}

bool ReversibleSequentialImpl::is_empty() const noexcept {
  return branches.empty();
}

ReversibleBlock ReversibleSequentialImpl::operator[](std::size_t index) const {
  TORCHREV_CHECK(
      IndexError,
      index < size(),
      "nn::ReversibleSequential",
      c10::str("an index below ", size()),
      c10::str(index));
  return ReversibleBlock(
      std::dynamic_pointer_cast<ReversibleBlockImpl>(children()[index]));
}

std::shared_ptr<torch::nn::Module> ReversibleSequentialImpl::clone(
    const torch::optional<c10::Device>& device) const {
  auto copy = std::make_shared<ReversibleSequentialImpl>(options);
  for (const auto& block : branches) {
    copy->push_back(block.f.clone(device), block.g.clone(device));
  }
  copy_training(*this, *copy);
  return copy;
}

void ReversibleSequentialImpl::clone_(
    torch::nn::Module& other, const torch::optional<c10::Device>& device) {
  detail::become_clone(*this, other, device);
}

void ReversibleSequentialImpl::pretty_print(std::ostream& stream) const {
  stream << "torchrev::nn::ReversibleSequential("
         << detail::printed(options.reversible());
  if (options.memory_budget()) {
    stream << ", memory_budget=" << *options.memory_budget();
  }
  stream << ")";
}

ReversibleSequential reversible_from_residual(
    const std::vector<Branch>& branches, double momentum) {
  TORCHREV_CHECK(
      ValueError,
      momentum >= 0 && momentum < 1,
      "nn::reversible_from_residual",
      "`momentum` to be in [0, 1)",
      c10::str(momentum));
  auto options =
      ReversibleOptions().velocity().coupling(momentum_coupling(momentum));
  if (momentum == 0) {
    options.store_last(static_cast<int64_t>(branches.size()));
  } else {
    options.stream_dtype(at::kDouble)
        .save_every(branches_within_rounding(momentum));
  }
  ReversibleSequential stack(options);
  for (const auto& branch : branches) {
    stack->push_back(branch, torch::nn::Identity());
  }
  return stack;
}

}  // namespace nn
}  // namespace torchrev
