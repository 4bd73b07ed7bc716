#include <torchrev/ops.h>

#include <torchrev/reversible.h>

#include <string>
#include <vector>

namespace torchrev {
namespace ops {

namespace {

using torch::jit::Module;

constexpr auto kFreezing =
    " Freezing removes what is used through operators only: keep it with "
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

// Checks that `forward` is called as forward(x, context...) -> Tensor; what a
// branch takes besides the context has to have defaults.
void check_signature(
    const Item& item, const c10::FunctionSchema& schema, std::size_t context) {
  const auto& arguments = schema.arguments();
  constexpr std::size_t kSelfAndX = 2;
  const bool takes_x =
      arguments.size() >= kSelfAndX && is_tensor(arguments[1].type());
  TORCH_CHECK_VALUE(
      takes_x,
      "torchrev::",
      item.entry,
      ": expected `forward` of ",
      item.name,
      " to take a tensor, but got ",
      schema,
      ".");
  const bool enough = arguments.size() <= kSelfAndX + context ||
                      arguments[kSelfAndX + context].default_value();
  TORCH_CHECK_VALUE(
      enough,
      "torchrev::",
      item.entry,
      ": expected `forward` of ",
      item.name,
      " to take x and at most ",
      context,
      " context tensors, which this call has, but got ",
      schema,
      ". Hand the operator the context as its last positional argument.");
  const auto& returns = schema.returns();
  TORCH_CHECK_VALUE(
      returns.size() == 1 && is_tensor(returns[0].type()),
      "torchrev::",
      item.entry,
      ": expected `forward` of ",
      item.name,
      " to return one tensor, but got ",
      schema,
      ".");
}

Branch to_branch(
    const Item& item, const Module& module, at::TensorList context) {
  const auto forward = module.find_method("forward");
  TORCH_CHECK_VALUE(
      forward,
      "torchrev::",
      item.entry,
      ": expected ",
      item.name,
      " to have a method `forward`, but got `",
      name_of(module),
      "` without one.",
      kFreezing);
  check_signature(item, forward->function().getSchema(), context.size());
  return module;
}

Branch branch_of(
    const Item& block,
    const Module& module,
    const std::string& name,
    at::TensorList context) {
  const bool found = module.hasattr(name) && module.attr(name).isModule();
  TORCH_CHECK_VALUE(
      found,
      "torchrev::",
      block.entry,
      ": expected `",
      block.name,
      "` to have a submodule `",
      name,
      "`, but got `",
      name_of(module),
      "` without one.",
      kFreezing);
  return to_branch(
      {block.entry, "`" + block.name + "." + name + "`"},
      module.attr(name).toModule(),
      context);
}

BranchPair to_block(
    const char* entry,
    const Module& f,
    const Module& g,
    at::TensorList context) {
  return {
      to_branch({entry, "`f`"}, f, context),
      to_branch({entry, "`g`"}, g, context)};
}

std::vector<BranchPair> to_blocks(
    const char* entry, const Module& list, at::TensorList context) {
  std::vector<BranchPair> blocks;
  for (const auto& child : list.named_children()) {
    const Item item{entry, "blocks[" + child.name + "]"};
    // Freezing that kept some of the blocks leaves a gap here.
    TORCH_CHECK_VALUE(
        child.name == std::to_string(blocks.size()),
        "torchrev::",
        entry,
        ": expected the blocks of `blocks` to be named 0, 1, 2, ..., but got ",
        child.name,
        " as number ",
        blocks.size(),
        ".",
        kFreezing);
    blocks.push_back(
        {branch_of(item, child.value, "f", context),
         branch_of(item, child.value, "g", context)});
  }
  TORCH_CHECK_VALUE(
      !blocks.empty(),
      "torchrev::",
      entry,
      ": expected `blocks` to be a ModuleList of at least one block, but got "
      "an empty one.",
      kFreezing);
  return blocks;
}

}  // namespace

std::tuple<Tensor, Tensor> reversible_block(
    const Module& f,
    const Module& g,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context,
    const ReversibleOptions& options) {
  const auto block = to_block("reversible_block", f, g, context);
  return torchrev::reversible_block(block.f, block.g, x1, x2, context, options);
}

std::tuple<Tensor, Tensor> reversible_block_inverse(
    const Module& f,
    const Module& g,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context,
    const ReversibleOptions& options) {
  const auto block = to_block("reversible_block_inverse", f, g, context);
  return torchrev::reversible_block_inverse(
      block.f, block.g, y1, y2, context, options);
}

std::tuple<Tensor, Tensor> reversible_sequence(
    const Module& blocks,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context,
    const ReversibleOptions& options) {
  return torchrev::reversible_sequence(
      to_blocks("reversible_sequence", blocks, context),
      x1,
      x2,
      context,
      options);
}

std::tuple<Tensor, Tensor> reversible_sequence_inverse(
    const Module& blocks,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context,
    const ReversibleOptions& options) {
  return torchrev::reversible_sequence_inverse(
      to_blocks("reversible_sequence_inverse", blocks, context),
      y1,
      y2,
      context,
      options);
}

Tensor reversible_residual(
    const Module& blocks,
    const Tensor& x,
    at::TensorList context,
    const ReversibleOptions& options) {
  return torchrev::reversible_residual(
      to_blocks("reversible_residual", blocks, context), x, context, options);
}

}  // namespace ops
}  // namespace torchrev
