#include "branch/module_callable.h"

#include "check.h"

namespace torchrev {
namespace detail {

namespace {

using torch::nn::Module;

// Calls `visit` for `module` and what is below it, parents first. Module's own
// modules() and parameters() put together the names of all, which takes longer
// than a small branch runs.
template <typename Visit>
void visit_modules(Module& module, const Visit& visit) {
  visit(module);
  for (const auto& child : module.children()) {
    visit_modules(*child, visit);
  }
}

// What `list(module)` gives for each module of the tree.
template <typename List>
std::vector<Tensor> tensors_of(Module& root, const List& list) {
  std::vector<Tensor> tensors;
  visit_modules(root, [&](const Module& module) {
    for (auto& tensor : list(module)) {
      tensors.push_back(std::move(tensor));
    }
  });
  return tensors;
}

}  // namespace

ModuleCallable::ModuleCallable(std::shared_ptr<torch::nn::Module> module)
    : module_(std::move(module)) {}

std::vector<Tensor> ModuleCallable::parameters() const {
  return tensors_of(*module_, [](const Module& module) {
    return module.parameters(/*recurse=*/false);
  });
}

std::vector<Tensor> ModuleCallable::buffers() const {
  return tensors_of(*module_, [](const Module& module) {
    return module.buffers(/*recurse=*/false);
  });
}

std::vector<c10::IValue> ModuleCallable::attributes() const {
  std::vector<c10::IValue> training;
  visit_modules(*module_, [&](const Module& module) {
    training.emplace_back(module.is_training());
  });
  return training;
}

void ModuleCallable::set_attributes(const std::vector<c10::IValue>& values) {
  std::vector<Module*> modules;
  visit_modules(*module_, [&](Module& module) { modules.push_back(&module); });
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
  // Parents come first, so that a child's own flag has the last word.
  for (std::size_t i = 0; i < modules.size(); ++i) {
    modules[i]->train(values[i].toBool());
  }
}

Callable::Identity ModuleCallable::identity() const {
  const std::weak_ptr<Module> weak = module_;
  return {module_.get(), [weak] { return weak.expired(); }};
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

namespace {

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

std::shared_ptr<Callable> make_module_callable(torch::nn::AnyModule module) {
  return std::make_shared<AnyModuleCallable>(std::move(module));
}

}  // namespace detail
}  // namespace torchrev
