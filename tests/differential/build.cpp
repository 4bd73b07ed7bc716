#include "build.h"

#include <algorithm>

#include "nested.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

void assemble(const Program& program, Model& model) {
  for (const auto& block : program.blocks) {
    model.blocks.push_back(
        {model.branches[block.first], model.branches[block.second]});
  }
  set_modes(program, model, /*opposite=*/false);
}

void add_leaves(
    Model& model, const std::string& owner, const std::vector<Tensor>& leaves) {
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    const bool known = std::any_of(
        model.leaves.begin(), model.leaves.end(), [&](const auto& leaf) {
          return leaf.tensor.is_same(leaves[i]);
        });
    if (leaves[i].is_leaf() && !known) {
      model.leaves.push_back(
          {"parameter " + std::to_string(i) + " of branch " + owner,
           leaves[i]});
    }
  }
}

// The sizes of an input: of a stream, or of both side by side.
std::vector<int64_t> input_shape(const Program& program) {
  auto shape = program.shape;
  const auto& streams = program.options.streams();
  if (program.one_tensor() && streams.kind == Streams::Kind::kSplit) {
    const auto dims = static_cast<int64_t>(shape.size());
    shape[streams.dim < 0 ? streams.dim + dims : streams.dim] *= 2;
  }
  return shape;
}

// The sizes of the tensor that `arrange` makes one of `shape` from.
std::vector<int64_t> base_shape(Layout layout, std::vector<int64_t> shape) {
  if (layout == Layout::kTransposed) {
    std::swap(shape[1], shape.back());
  } else if (layout == Layout::kNarrowed) {
    shape.back() += 2;
  } else if (layout == Layout::kExpanded) {
    shape[0] = 1;
  }
  return shape;
}

Tensor arrange(Layout layout, const Tensor& base, at::IntArrayRef shape) {
  switch (layout) {
    case Layout::kTransposed:
      return base.transpose(1, -1);
    case Layout::kNarrowed:
      return base.narrow(-1, 1, shape.back());
    case Layout::kExpanded:
      return base.expand(shape);
    case Layout::kChannelsLast:
      return base.contiguous(at::MemoryFormat::ChannelsLast);
    default:
      return base;
  }
}

Tensor build_input(
    const Program& program,
    const InputSpec& spec,
    const std::string& name,
    Arguments& arguments) {
  const auto shape = input_shape(program);
  auto base = torch::randn(base_shape(spec.layout, shape), program.dtype)
                  .to(program.device);
  if (spec.gradient == Gradient::kNonLeaf) {
    base.requires_grad_();
    arguments.leaves.push_back({"the base of " + name, base});
    base = base * 1.5;
  }
  auto input = arrange(spec.layout, base, shape);
  if (spec.gradient == Gradient::kLeaf) {
    input = input.detach().requires_grad_();
  }
  arguments.leaves.push_back({name, input});
  return input;
}

Tensor build_context(const Program& program, ContextKind kind) {
  const auto sample = at::IntArrayRef(program.shape).slice(1);
  switch (kind) {
    case ContextKind::kMask:
      return (torch::rand(sample) < 0.3).to(program.device);
    case ContextKind::kIndex:
      return torch::randperm(program.shape.back(), at::kLong)
          .to(program.device);
    case ContextKind::kUndefined:
      return Tensor();
    default:
      return (1 + 0.3 * torch::randn(sample, program.dtype))
          .to(program.device)
          .requires_grad_();
  }
}

}  // namespace

Model build_model(const Program& program) {
  torch::manual_seed(program.seed);
  Model model;
  for (std::size_t i = 0; i < program.branches.size(); ++i) {
    const auto& spec = program.branches[i];
    auto built = build_branch(program, spec);
    freeze(spec, built.branch);
    const auto& leaves =
        built.leaves.empty() ? built.branch.parameters() : built.leaves;
    add_leaves(model, std::to_string(i), leaves);
    model.branches.push_back(std::move(built.branch));
  }
  assemble(program, model);
  return model;
}

Model clone_model(const Program& program, const Model& model) {
  Model copy;
  for (std::size_t i = 0; i < model.branches.size(); ++i) {
    auto branch = model.branches[i].clone();
    const auto parameters = branch.parameters();
    const auto originals = model.branches[i].parameters();
    for (std::size_t j = 0; j < parameters.size(); ++j) {
      // torch::nn::Cloneable copies values, not requires_grad.
      parameters[j].set_requires_grad(originals[j].requires_grad());
    }
    add_leaves(copy, std::to_string(i), parameters);
    copy.branches.push_back(std::move(branch));
  }
  assemble(program, copy);
  return copy;
}

void set_modes(const Program& program, const Model& model, bool opposite) {
  for (std::size_t i = 0; i < model.branches.size(); ++i) {
    model.branches[i].module()->train(program.branches[i].training != opposite);
  }
}

Arguments build_arguments(const Program& program) {
  torch::manual_seed(program.seed + 1);
  Arguments arguments;
  const bool one = program.one_tensor();
  auto x1 =
      build_input(program, program.inputs[0], one ? "x" : "x1", arguments);
  arguments.streams = {x1};
  if (!one) {
    arguments.streams.push_back(
        program.same_input
            ? x1
            : build_input(program, program.inputs[1], "x2", arguments));
  }
  for (const auto kind : program.context) {
    const auto name = "context " + std::to_string(arguments.context.size());
    arguments.context.push_back(build_context(program, kind));
    arguments.leaves.push_back({name, arguments.context.back()});
  }
  return arguments;
}

std::vector<Tensor> encode(const Program& program, const Arguments& arguments) {
  auto context = arguments.context;
  for (std::size_t i = 0; i < context.size(); ++i) {
    if (program.context[i] == ContextKind::kEncoding) {
      context[i] = context[i].sin() * 1.25;
    }
  }
  return context;
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
