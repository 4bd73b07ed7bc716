#include "branch/script_callable.h"

#include <ATen/core/grad_mode.h>

#include <string>
#include <typeinfo>
#include <utility>

#include "branch/script_slots.h"
#include "check.h"

namespace torchrev {
namespace detail {

namespace {

using ScriptModule = torch::jit::Module;

// Copies of tensors do not carry requires_grad over by themselves.
ScriptModule deep_copy(
    const ScriptModule& module, const torch::optional<c10::Device>& device) {
  at::NoGradGuard no_grad;
  auto copy = module.deepcopy();
  if (device) {
    copy.to(*device);
  }
  const auto from = parameters_of(module);
  const auto to = parameters_of(copy);
  for (std::size_t i = 0; i < from.size(); ++i) {
    to[i].set_requires_grad(from[i].requires_grad());
  }
  return copy;
}

// A TorchScript module as a torch::nn::Module: a tree of the same shape that
// shares its tensors, so that parameters(), to() and saving reach them.
class ScriptMirror final : public torch::nn::Module {
 public:
  explicit ScriptMirror(ScriptModule module)
      : torch::nn::Module("torch::jit::Module"), module_(std::move(module)) {
    for (const auto& item : module_.named_parameters(/*recurse=*/false)) {
      register_parameter(item.name, item.value, item.value.requires_grad());
    }
    for (const auto& item : module_.named_buffers(/*recurse=*/false)) {
      register_buffer(item.name, item.value);
    }
    for (const auto& item : module_.named_children()) {
      register_module(item.name, std::make_shared<ScriptMirror>(item.value));
    }
  }

  void train(bool on) override {
    torch::nn::Module::train(on);
    module_.train(on);
  }
  std::shared_ptr<torch::nn::Module> clone(
      const torch::optional<c10::Device>& device) const override {
    return std::make_shared<ScriptMirror>(deep_copy(module_, device));
  }
  void pretty_print(std::ostream& stream) const override {
    const auto name = module_.type()->name();
    stream << "torch::jit::Module(" << (name ? name->name() : "") << ")";
  }

  const ScriptModule& script() const {
    return module_;
  }

 private:
  ScriptModule module_;
};

class ScriptCallable final : public Callable {
 public:
  // Arguments of forward: self, x, context...
  static constexpr std::size_t kContextArgument = 2;

  explicit ScriptCallable(ScriptModule module) : module_(std::move(module)) {
    const auto method = module_.find_method("forward");
    TORCHREV_CHECK(
        ValueError,
        method,
        "Branch",
        c10::str(
            "TorchScript module `",
            module_.type()->repr_str(),
            "` to have a method `forward`"),
        "none",
        "Freezing removes methods that are used through operators only: keep "
        "them with torch.jit.freeze(..., preserved_attrs=[...]).");
    const auto& arguments = method->function().getSchema().arguments();
    TORCHREV_CHECK(
        ValueError,
        arguments.size() > kContextArgument - 1,
        "Branch",
        c10::str(
            "`forward` of TorchScript module `",
            module_.type()->repr_str(),
            "` to take a tensor"),
        "a method without arguments");
    for (auto i = kContextArgument; i < arguments.size(); ++i) {
      ++context_.most;
      context_.least += arguments[i].default_value() ? 0 : 1;
      takes_.push_back(
          {arguments[i].name(),
           c10::TensorType::get()->isSubtypeOf(*arguments[i].type()),
           c10::NoneType::get()->isSubtypeOf(*arguments[i].type())});
    }
  }

  Tensor forward(
      const Tensor& x,
      at::TensorList context,
      at::TensorList /*parameters*/) override {
    check_context(context);
    std::vector<c10::IValue> inputs{x};
    for (std::size_t i = 0; i < context.size(); ++i) {
      const bool none =
          !context[i].defined() && i < takes_.size() && takes_[i].none;
      inputs.push_back(none ? c10::IValue() : c10::IValue(context[i]));
    }
    auto output = module_.forward(std::move(inputs));
    TORCHREV_CHECK(
        TypeError,
        output.isTensor(),
        "Branch",
        c10::str(
            "`forward` of TorchScript module `",
            module_.type()->repr_str(),
            "` to return a Tensor"),
        c10::str(output.tagKind()));
    return std::move(output).toTensor();
  }

  std::vector<Tensor> parameters() const override {
    return parameters_of(module_);
  }
  std::vector<Tensor> buffers() const override {
    return buffers_of(module_);
  }
  std::vector<c10::IValue> attributes() const override {
    return slots_of(module_);
  }
  void set_attributes(const std::vector<c10::IValue>& values) override {
    auto value = values.begin();
    set_slots(module_, value);
  }
  std::shared_ptr<Callable> with_attributes(
      const std::vector<c10::IValue>& values) const override {
    auto copy = std::make_shared<ScriptCallable>(*this);
    copy->module_ = copy_with_slots(module_, values);
    copy->mirror_ = nullptr;
    return copy;
  }
  bool needs_graph() const override {
    return true;
  }
  Identity identity() const override {
    const auto object = module_._ivalue();
    const c10::weak_intrusive_ptr<c10::ivalue::Object> weak(object);
    return {object.get(), [weak] { return weak.expired(); }};
  }
  ContextSize default_context() const override {
    return context_;
  }
  std::shared_ptr<torch::nn::Module> module() override {
    if (!mirror_) {
      mirror_ = std::make_shared<ScriptMirror>(module_);
    }
    return mirror_;
  }
  std::shared_ptr<Callable> clone(
      const torch::optional<c10::Device>& device) const override {
    return std::make_shared<ScriptCallable>(deep_copy(module_, device));
  }

 private:
  void check_context(at::TensorList context) const {
    for (std::size_t i = 0; i < context.size() && i < takes_.size(); ++i) {
      const bool given = context[i].defined();
      const auto& takes = takes_[i];
      TORCHREV_CHECK(
          TypeError,
          given ? takes.tensor : takes.none,
          "Branch",
          c10::str(
              "argument `",
              takes.name,
              "` of `forward` of TorchScript module `",
              module_.type()->repr_str(),
              given ? "` to take a tensor" : "` to be given a tensor"),
          given ? "one of another type" : "None (an undefined tensor)",
          given ? "Hand tensors to a branch as context."
                : "Declare it as Optional[Tensor], or hand it a tensor.");
    }
  }

  ScriptModule module_;
  ContextSize context_;
  // What each context argument takes: where it takes None, an undefined tensor
  // is None.
  struct Takes {
    std::string name;
    bool tensor;
    bool none;
  };
  std::vector<Takes> takes_;
  // Made when a parent module asks for it: operators never do.
  std::shared_ptr<torch::nn::Module> mirror_;
};

}  // namespace

std::shared_ptr<Callable> make_script_callable(ScriptModule module) {
  return std::make_shared<ScriptCallable>(std::move(module));
}

const ScriptModule* script_of(const torch::nn::Module& module) {
  // In this order no names are compared: that of a type of this file is its
  // address.
  return typeid(ScriptMirror) == typeid(module)
             ? &static_cast<const ScriptMirror&>(module).script()
             : nullptr;
}

bool is_script(const Callable& callable) {
  return dynamic_cast<const ScriptCallable*>(&callable) != nullptr;
}

}  // namespace detail
}  // namespace torchrev
