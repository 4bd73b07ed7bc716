#include <torchrev/ops.h>

#include <torch/csrc/jit/frontend/function_schema_parser.h>
#include <torch/library.h>
#include <torchrev/reversible.h>

#include <string>
#include <vector>

// NOTE [Operators]
// Schemas take modules as `Any`, which only boxed kernels may. They are
// registered as CONSERVATIVE: an operator that counts as pure would be dropped
// when its result is unused, and merged with an equal call, which is wrong with
// dropout or batch norm inside.

namespace torchrev {

namespace {

using torch::jit::Stack;

constexpr auto kOptions =
    "bool preserve_rng_state=True, int save_every=0, int store_last=0, "
    "int chunks_f=1, int chunks_g=1, int chunk_dim=1, "
    "ScalarType? stream_dtype=None, int? fraction_bits=None, "
    "float? drift_tolerance=None, str coupling=\"additive\", "
    "float momentum=0.9";
constexpr std::size_t kOptionCount = 11;

// Reads the arguments of a call from left to right.
class Arguments {
 public:
  Arguments(Stack& stack, std::size_t count)
      : values_(stack.end() - static_cast<std::ptrdiff_t>(count), stack.end()) {
    stack.resize(stack.size() - count);
  }

  c10::IValue next() {
    return std::move(values_[position_++]);
  }
  Tensor tensor() {
    return next().toTensor();
  }

  ReversibleOptions options() {
    ReversibleOptions options;
    options.preserve_rng_state(next().toBool());
    options.save_every(next().toInt());
    options.store_last(next().toInt());
    options.chunks_f(next().toInt());
    options.chunks_g(next().toInt());
    options.chunk_dim(next().toInt());
    options.stream_dtype(next().toOptional<at::ScalarType>());
    options.fraction_bits(next().toOptional<int64_t>());
    options.drift_tolerance(next().toOptional<double>());
    options.coupling(next().toStringRef());
    options.momentum(next().toDouble());
    return options;
  }

 private:
  std::vector<c10::IValue> values_;
  std::size_t position_ = 0;
};

constexpr auto kFreezing =
    " Freezing removes what is used through operators only: keep it with "
    "torch.jit.freeze(..., preserved_attrs=[...]).";

torch::jit::Module to_module(
    const char* entry, const std::string& item, const c10::IValue& value) {
  TORCH_CHECK_TYPE(
      value.isModule(),
      "torchrev::",
      entry,
      ": expected ",
      item,
      " to be a TorchScript module, but got ",
      value.tagKind(),
      ". Script it with torch.jit.script first.");
  return value.toModule();
}

Branch to_branch(
    const char* entry, const std::string& item, const c10::IValue& value) {
  auto module = to_module(entry, item, value);
  TORCH_CHECK_VALUE(
      module.find_method("forward"),
      "torchrev::",
      entry,
      ": expected ",
      item,
      " to have a method `forward`, but got `",
      module.type()->repr_str(),
      "` without one.",
      kFreezing);
  return module;
}

Branch to_branch_of(
    const char* entry,
    const std::string& item,
    const torch::jit::Module& block,
    const std::string& name) {
  TORCH_CHECK_VALUE(
      block.hasattr(name),
      "torchrev::",
      entry,
      ": expected ",
      item,
      " to have a submodule `",
      name,
      "`, but got `",
      block.type()->repr_str(),
      "` without one.",
      kFreezing);
  return to_branch(entry, item + "." + name, block.attr(name));
}

std::vector<BranchPair> to_blocks(const char* entry, const c10::IValue& value) {
  const auto list = to_module(entry, "`blocks`", value);
  std::vector<BranchPair> blocks;
  for (const auto& child : list.named_children()) {
    const auto item = "`blocks[" + child.name + "]`";
    blocks.push_back(
        {to_branch_of(entry, item, child.value, "f"),
         to_branch_of(entry, item, child.value, "g")});
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

// `Any context`: a tensor, None, or a list or tuple of these.
void append_context(
    const char* entry, const c10::IValue& value, std::vector<Tensor>& context) {
  if (value.isTensor()) {
    context.push_back(value.toTensor());
  } else if (value.isNone()) {
    context.emplace_back();
  } else if (value.isTensorList()) {
    for (const Tensor& tensor : value.toTensorVector()) {
      context.push_back(tensor);
    }
  } else {
    const bool nested = value.isTuple() || value.isList();
    TORCH_CHECK_TYPE(
        nested,
        "torchrev::",
        entry,
        ": expected `context` to be a tensor, None, or a "
        "list or tuple of these, but got ",
        value.tagKind(),
        ".");
    for (const auto& item : value.isTuple()
                                ? value.toTupleRef().elements().vec()
                                : value.toListRef().vec()) {
      append_context(entry, item, context);
    }
  }
}

template <bool kContext>
std::vector<Tensor> read_context(const char* entry, Arguments& arguments) {
  std::vector<Tensor> context;
  if constexpr (kContext) {
    append_context(entry, arguments.next(), context);
  }
  return context;
}

using PairFunction = std::tuple<Tensor, Tensor> (*)(
    at::ArrayRef<BranchPair>,
    const Tensor&,
    const Tensor&,
    at::TensorList,
    const ReversibleOptions&);

template <bool kContext>
void call_block(const char* entry, PairFunction function, Stack& stack) {
  Arguments arguments(stack, 4 + kContext + kOptionCount);
  const BranchPair block{
      to_branch(entry, "`f`", arguments.next()),
      to_branch(entry, "`g`", arguments.next())};
  const auto s1 = arguments.tensor();
  const auto s2 = arguments.tensor();
  const auto context = read_context<kContext>(entry, arguments);
  auto y = function(block, s1, s2, context, arguments.options());
  torch::jit::push(stack, std::get<0>(y), std::get<1>(y));
}

template <bool kContext>
void call_sequence(const char* entry, PairFunction function, Stack& stack) {
  Arguments arguments(stack, 3 + kContext + kOptionCount);
  const auto blocks = to_blocks(entry, arguments.next());
  const auto s1 = arguments.tensor();
  const auto s2 = arguments.tensor();
  const auto context = read_context<kContext>(entry, arguments);
  auto y = function(blocks, s1, s2, context, arguments.options());
  torch::jit::push(stack, std::get<0>(y), std::get<1>(y));
}

template <bool kContext>
void block(const c10::OperatorHandle&, Stack* stack) {
  call_block<kContext>("reversible_block", &reversible_sequence, *stack);
}

template <bool kContext>
void sequence(const c10::OperatorHandle&, Stack* stack) {
  call_sequence<kContext>("reversible_sequence", &reversible_sequence, *stack);
}

void define(
    torch::Library& library,
    const std::string& signature,
    const std::string& returns,
    torch::CppFunction&& kernel) {
  library.def(
      torch::schema(
          (signature + ", *, " + kOptions + ") -> " + returns).c_str(),
          c10::AliasAnalysisKind::CONSERVATIVE),
      std::move(kernel));
}

}  // namespace

namespace detail {

bool ops_registered() noexcept {
  return true;
}

}  // namespace detail

TORCH_LIBRARY(torchrev, library) {
  using torch::CppFunction;
  const std::string pair = "(Tensor, Tensor)";
  define(
      library,
      "reversible_block(Any f, Any g, Tensor x1, Tensor x2",
      pair,
      CppFunction::makeFromBoxedFunction<&block<false>>());
  define(
      library,
      "reversible_block.context(Any f, Any g, Tensor x1, Tensor x2, "
      "Any context",
      pair,
      CppFunction::makeFromBoxedFunction<&block<true>>());
  define(
      library,
      "reversible_sequence(Any blocks, Tensor x1, Tensor x2",
      pair,
      CppFunction::makeFromBoxedFunction<&sequence<false>>());
  define(
      library,
      "reversible_sequence.context(Any blocks, Tensor x1, Tensor x2, "
      "Any context",
      pair,
      CppFunction::makeFromBoxedFunction<&sequence<true>>());
}

}  // namespace torchrev
