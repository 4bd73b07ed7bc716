#include "ops/scripted_blocks.h"

#include <string>

#include "check.h"

namespace torchrev {
namespace detail {

namespace {

using torch::jit::Module;

constexpr auto kFreezing =
    "Freezing removes what is used through operators only: keep it with "
    "torch.jit.freeze(..., preserved_attrs=[...]).";

// The argument of an operator that a message is about: `blocks[1].f`.
struct Item {
  const char* entry;
  std::string name;
};

std::string name_of(const Module& module) {
  return module.type()->repr_str();
}

bool is_tensor(const c10::TypePtr& type) {
  return type->isSubtypeOf(*c10::TensorType::get()) ||
         type->kind() == c10::TypeKind::AnyType;
}

// Also Optional[Tensor] and Union[Tensor, ...] do.
bool takes_tensor(const c10::Argument& argument) {
  return c10::TensorType::get()->isSubtypeOf(*argument.type());
}

// Of self, x, context...
constexpr std::size_t kSelfAndX = 2;

// Checks that each argument takes its context tensor, or None for an undefined
// one.
void check_context(
    const Item& item,
    const c10::FunctionSchema& schema,
    at::TensorList context) {
  const auto& arguments = schema.arguments();
  for (std::size_t i = 0;
       i < context.size() && kSelfAndX + i < arguments.size();
       ++i) {
    const auto& argument = arguments[kSelfAndX + i];
    const bool given = context[i].defined();
    const auto text = c10::str(
        "argument `", argument.name(), "` of `forward` of ", item.name);
    TORCHREV_CHECK(
        TypeError,
        !given || takes_tensor(argument),
        item.entry,
        text + " to take a context tensor",
        argument.type()->repr_str());
    TORCHREV_CHECK(
        TypeError,
        given || c10::NoneType::get()->isSubtypeOf(*argument.type()),
        item.entry,
        text + " to be given a tensor",
        "None",
        "Declare it as Optional[Tensor], or hand it a tensor.");
  }
}

// Checks that `forward` is called as forward(x, context...) -> Tensor; what a
// branch takes besides the context has to have defaults.
void check_signature(
    const Item& item,
    const c10::FunctionSchema& schema,
    at::TensorList context) {
  const auto& arguments = schema.arguments();
  const auto forward = "`forward` of " + item.name;
  TORCHREV_CHECK(
      ValueError,
      arguments.size() >= kSelfAndX && takes_tensor(arguments[1]),
      item.entry,
      forward + " to take a tensor",
      c10::str(schema));
  TORCHREV_CHECK(
      ValueError,
      arguments.size() <= kSelfAndX + context.size() ||
          arguments[kSelfAndX + context.size()].default_value(),
      item.entry,
      c10::str(
          forward,
          " to take x and at most ",
          context.size(),
          " context tensors, which this call has"),
      c10::str(schema),
      "Hand the operator the context as its last positional argument.");
  check_context(item, schema, context);
  const auto& returns = schema.returns();
  TORCHREV_CHECK(
      ValueError,
      returns.size() == 1 && is_tensor(returns[0].type()),
      item.entry,
      forward + " to return one tensor",
      c10::str(schema));
}

Branch to_branch(
    const Item& item, const Module& module, at::TensorList context) {
  const auto forward = module.find_method("forward");
  TORCHREV_CHECK(
      ValueError,
      forward,
      item.entry,
      item.name + " to have a method `forward`",
      "`" + name_of(module) + "` without one",
      kFreezing);
  check_signature(item, forward->function().getSchema(), context);
  return module;
}

Branch branch_of(
    const Item& block,
    const Module& module,
    const std::string& name,
    at::TensorList context) {
  TORCHREV_CHECK(
      ValueError,
      module.hasattr(name) && module.attr(name).isModule(),
      block.entry,
      "`" + block.name + "` to have a submodule `" + name + "`",
      "`" + name_of(module) + "` without one",
      kFreezing);
  return to_branch(
      {block.entry, "`" + block.name + "." + name + "`"},
      module.attr(name).toModule(),
      context);
}

}  // namespace

BranchPair scripted_block(
    const char* entry,
    const Module& f,
    const Module& g,
    at::TensorList context) {
  return {
      to_branch({entry, "`f`"}, f, context),
      to_branch({entry, "`g`"}, g, context)};
}

std::vector<BranchPair> scripted_blocks(
    const char* entry, const Module& list, at::TensorList context) {
  std::vector<BranchPair> blocks;
  for (const auto& child : list.named_children()) {
    const Item item{entry, "blocks[" + child.name + "]"};
    // Freezing that kept some of the blocks leaves a gap here.
    TORCHREV_CHECK(
        ValueError,
        child.name == std::to_string(blocks.size()),
        entry,
        "the blocks of `blocks` to be named 0, 1, 2, ...",
        c10::str(child.name, " as number ", blocks.size()),
        kFreezing);
    blocks.push_back(
        {branch_of(item, child.value, "f", context),
         branch_of(item, child.value, "g", context)});
  }
  TORCHREV_CHECK(
      ValueError,
      !blocks.empty(),
      entry,
      "`blocks` to be a ModuleList of at least one block",
      "an empty one",
      kFreezing);
  return blocks;
}

}  // namespace detail
}  // namespace torchrev
