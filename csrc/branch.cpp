#include <torchrev/branch.h>

#include <algorithm>

#include "branch/branch_facts.h"
#include "branch/function_callable.h"
#include "branch/module_callable.h"
#include "branch/script_callable.h"
#include "check.h"

namespace torchrev {

Branch::Branch(std::shared_ptr<detail::Callable> callable)
    : callable_(std::move(callable)),
      facts_(detail::BranchFacts::of(*callable_)) {}

Branch::Branch(torch::nn::AnyModule module) {
  check_not_null(module.is_empty() ? nullptr : module.ptr().get());
  callable_ = detail::make_module_callable(std::move(module));
  facts_ = detail::BranchFacts::of(*callable_);
}

Branch::Branch(torch::jit::Module module)
    : Branch(detail::make_script_callable(std::move(module))) {}

void Branch::check_not_null(const void* module) {
  TORCHREV_CHECK(
      ValueError,
      module != nullptr,
      "Branch",
      "a module",
      "an empty holder",
      "Construct the module first.");
}

Branch Branch::function(
    Function fn, std::vector<Tensor> parameters, std::vector<Tensor> buffers) {
  TORCHREV_CHECK(
      ValueError,
      fn != nullptr,
      "Branch::function",
      "`fn` to be callable",
      "an empty function");
  for (const auto* tensors : {&parameters, &buffers}) {
    for (const auto& tensor : *tensors) {
      TORCHREV_CHECK(
          ValueError,
          tensor.defined(),
          "Branch::function",
          "parameters and buffers to be tensors",
          "an undefined one");
    }
  }
  return Branch(detail::make_function_callable(
      std::move(fn), std::move(parameters), std::move(buffers)));
}

Branch Branch::context() const {
  Branch branch = *this;
  branch.routing_ = Routing::kAll;
  return branch;
}

Branch Branch::context(std::vector<int64_t> indices) const {
  for (const auto index : indices) {
    TORCHREV_CHECK(
        IndexError,
        index >= 0,
        "Branch::context",
        "indices from 0",
        c10::str(index));
  }
  Branch branch = *this;
  branch.routing_ = Routing::kSome;
  branch.indices_ = std::move(indices);
  return branch;
}

Branch Branch::mutable_buffers() const {
  Branch branch = *this;
  branch.mutable_buffers_ = true;
  return branch;
}

Branch Branch::clone(const torch::optional<c10::Device>& device) const {
  Branch branch = *this;
  branch.callable_ = callable_->clone(device);
  branch.facts_ = detail::BranchFacts::of(*branch.callable_);
  return branch;
}

std::shared_ptr<torch::nn::Module> Branch::module() const {
  return callable_->module();
}

std::vector<Tensor> Branch::parameters() const {
  return callable_->parameters();
}

std::vector<Tensor> Branch::buffers() const {
  return callable_->buffers();
}

std::vector<Tensor> Branch::select(at::TensorList context) const {
  if (routing_ == Routing::kAll) {
    return context.vec();
  }
  const auto check = [&context](std::size_t index) {
    TORCHREV_CHECK(
        IndexError,
        index < context.size(),
        "Branch",
        c10::str(
            "the call to have a context tensor ", index, " for its branch"),
        c10::str(context.size(), " context tensors"),
        "Hand it to the call, or choose others with context({i, ...}).");
  };
  if (routing_ == Routing::kDefault) {
    const auto size = callable_->default_context();
    if (size.least > 0) {
      check(size.least - 1);
    }
    return context.slice(0, std::min(size.most, context.size())).vec();
  }
  std::vector<Tensor> selected;
  for (const auto index : indices_) {
    check(static_cast<std::size_t>(index));
    selected.push_back(context[index]);
  }
  return selected;
}

Tensor Branch::operator()(const Tensor& x, at::TensorList context) const {
  const auto parameters = callable_->takes_parameters()
                              ? callable_->parameters()
                              : std::vector<Tensor>();
  return callable_->forward(x, select(context), parameters);
}

}  // namespace torchrev
