#include <torchrev/branch.h>

#include "branch/function_callable.h"
#include "branch/script_callable.h"
#include "check.h"

namespace torchrev {
namespace detail {

namespace {

using ModulePtr = std::shared_ptr<torch::nn::Module>;

// `module` and what is below it, parents first. Module::modules() and
// parameters() put together the names of all, which takes longer than a small
// branch runs.
void append_modules(const ModulePtr& module, std::vector<ModulePtr>& modules) {
  modules.push_back(module);
  for (const auto& child : module->children()) {
    append_modules(child, modules);
  }
}

std::vector<ModulePtr> modules_of(const ModulePtr& module) {
  std::vector<ModulePtr> modules;
  append_modules(module, modules);
  return modules;
}

// What `list(module)` gives for each module of the tree.
template <typename List>
std::vector<Tensor> tensors_of(const ModulePtr& root, const List& list) {
  std::vector<Tensor> tensors;
  for (const auto& module : modules_of(root)) {
    for (auto& tensor : list(*module)) {
      tensors.push_back(std::move(tensor));
    }
  }
  return tensors;
}

class AnyModuleCallable final : public ModuleCallable {
 public:
  explicit AnyModuleCallable(torch::nn::AnyModule any)
      : ModuleCallable(any.ptr()), any_(std::move(any)) {}

  Tensor forward(
      const Tensor& x,
      at::TensorList context,
      at::TensorList /*parameters*/) override {
    return forward_module(*module_, any_, x, context);
  }

  std::shared_ptr<Callable> clone(
      const torch::optional<c10::Device>& device) const override {
    return std::make_shared<AnyModuleCallable>(any_.clone(device));
  }

 private:
  torch::nn::AnyModule any_;
};

}  // namespace

ModuleCallable::ModuleCallable(std::shared_ptr<torch::nn::Module> module)
    : module_(std::move(module)) {}

std::vector<Tensor> ModuleCallable::parameters() const {
  return tensors_of(module_, [](const torch::nn::Module& module) {
    return module.parameters(/*recurse=*/false);
  });
}

std::vector<Tensor> ModuleCallable::buffers() const {
  return tensors_of(module_, [](const torch::nn::Module& module) {
    return module.buffers(/*recurse=*/false);
  });
}

std::vector<c10::IValue> ModuleCallable::attributes() const {
  std::vector<c10::IValue> training;
  for (const auto& module : modules_of(module_)) {
    training.emplace_back(module->is_training());
  }
  return training;
}

void ModuleCallable::set_attributes(const std::vector<c10::IValue>& values) {
  // Parents come first, so that a child's own flag has the last word.
  const auto modules = modules_of(module_);
  TORCHREV_CHECK(
      ValueError,
      modules.size() == values.size(),
      "Branch",
      c10::str(
          "module `",
          module_->name(),
          "` to have the ",
          values.size(),
          " submodules of its forward in backward"),
      c10::str(modules.size()),
      "Change the structure of a model between steps only.");
  for (std::size_t i = 0; i < modules.size(); ++i) {
    modules[i]->train(values[i].toBool());
  }
}

std::shared_ptr<torch::nn::Module> ModuleCallable::module() {
  return module_;
}

void throw_context_mismatch(
    const torch::nn::Module& module, std::size_t count) {
  TORCHREV_CHECK(
      ValueError,
      false,
      "Branch",
      c10::str(
          "`",
          module.name(),
          "::forward` to take x and ",
          count,
          " context tensors and to return a Tensor"),
      "a module that does not",
      "Choose its context with context({i, ...}).");
}

}  // namespace detail

Branch::Branch(std::shared_ptr<detail::Callable> callable)
    : callable_(std::move(callable)) {}

Branch::Branch(torch::nn::AnyModule module) {
  check_not_null(module.is_empty() ? nullptr : module.ptr().get());
  callable_ = std::make_shared<detail::AnyModuleCallable>(std::move(module));
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
  branch.searched_ = std::make_shared<std::atomic<bool>>(false);
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
