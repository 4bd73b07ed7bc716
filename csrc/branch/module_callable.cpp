#include "branch/module_callable.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "branch/script_callable.h"
#include "branch/script_slots.h"
#include "check.h"

namespace torchrev {
namespace detail {

namespace {

using torch::nn::Module;

// Calls `visit(module, script)` for `module` and what is below it, parents
// first. `script`: the TorchScript module that the module stands for, which
// keeps its state, and that of modules below it, in slots of its own.
// `in_script`: whether it is one of those below.
//
// Module's own modules() and parameters() put together the names of all, which
// takes longer than a small branch runs.
template <typename Visit>
void visit_modules(Module& module, const Visit& visit, bool in_script = false) {
  const auto* script = script_of(module);
  visit(module, script, in_script);
  for (const auto& child : module.children()) {
    visit_modules(*child, visit, in_script || script);
  }
}

// Module's own parameters() copies them with their names into a dictionary
// first.
struct Members : Module {
  static const torch::OrderedDict<std::string, Tensor>& parameters_of(
      const Module& module) {
    return module.*(&Members::parameters_);
  }
};

template <typename T>
void append(std::vector<T>& values, std::vector<T> more) {
  std::move(more.begin(), more.end(), std::back_inserter(values));
}

}  // namespace

ModuleCallable::ModuleCallable(std::shared_ptr<torch::nn::Module> module)
    : module_(std::move(module)) {}

std::vector<Tensor> ModuleCallable::parameters() const {
  std::vector<Tensor> tensors;
  visit_modules(
      *module_, [&](const Module& module, const auto* script, bool in_script) {
        if (in_script) {
          return;
        }
        if (script) {
          append(tensors, parameters_of(*script));
          return;
        }
        for (const auto& item : Members::parameters_of(module)) {
          if (item.value().defined()) {
            tensors.push_back(item.value());
          }
        }
      });
  return tensors;
}

std::vector<Tensor> ModuleCallable::buffers() const {
  std::vector<Tensor> tensors;
  visit_modules(
      *module_, [&](const Module& module, const auto* script, bool in_script) {
        if (!in_script) {
          append(
              tensors,
              script ? buffers_of(*script) : module.buffers(/*recurse=*/false));
        }
      });
  return tensors;
}

// The flags of all modules, then the slots of scripts.
std::vector<c10::IValue> ModuleCallable::attributes() const {
  std::vector<c10::IValue> values;
  std::vector<c10::IValue> slots;
  visit_modules(
      *module_, [&](const Module& module, const auto* script, bool in_script) {
        values.emplace_back(module.is_training());
        if (script && !in_script) {
          append(slots, slots_of(*script));
        }
      });
  append(values, std::move(slots));
  return values;
}

void ModuleCallable::set_attributes(const std::vector<c10::IValue>& values) {
  std::vector<Module*> modules;
  std::vector<const torch::jit::Module*> scripts;
  std::size_t size = 0;
  visit_modules(
      *module_, [&](Module& module, const auto* script, bool in_script) {
        modules.push_back(&module);
        ++size;
        if (script && !in_script) {
          scripts.push_back(script);
          size += slots_of(*script).size();
        }
      });
  TORCHREV_CHECK(
      ValueError,
      size == values.size(),
      "Branch",
      c10::str(
          "module `",
          module_->name(),
          "` to have the ",
          values.size(),
          " submodules and attributes of its forward in backward"),
      c10::str(size),
      "Change the structure of a model between steps only.");
  auto value = values.begin();
  // Parents come first, so that a child's own flag has the last word; so have
  // the flags among the slots of a script.
  for (auto* module : modules) {
    module->train((value++)->toBool());
  }
  for (const auto* script : scripts) {
    set_slots(*script, value);
  }
}

bool ModuleCallable::needs_graph() const {
  bool scripted = false;
  visit_modules(*module_, [&](const Module&, const auto* script, bool) {
    scripted |= script != nullptr;
  });
  return scripted;
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
