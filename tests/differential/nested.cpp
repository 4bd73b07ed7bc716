#include "nested.h"

#include "draws.h"
#include "modules.h"
#include "plain.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

// A stack that is a branch by itself.
class StackImpl : public nn::ReversibleSequentialImpl {
 public:
  StackImpl(const ReversibleOptions& options, bool inverse)
      : ReversibleSequentialImpl(options), inverse_(inverse) {}

  Tensor forward(const Tensor& x) {
    if (Within::way() == Way::kPlain) {
      const auto& reversible = options.reversible();
      return PlainStack{branches, reversible, inverse_}.residual(x, {});
    }
    return inverse_ ? ReversibleSequentialImpl::inverse(x)
                    : ReversibleSequentialImpl::forward(x);
  }

  std::shared_ptr<torch::nn::Module> clone(
      const torch::optional<c10::Device>& device) const override {
    auto copy = std::make_shared<StackImpl>(options.reversible(), inverse_);
    for (const auto& block : branches) {
      copy->push_back(block.f.clone(device), block.g.clone(device));
    }
    copy->train(is_training());
    return copy;
  }

 private:
  bool inverse_;
};

std::vector<Branch> build_branches(const StackSpec& stack) {
  std::vector<Branch> branches;
  for (const auto& spec : stack.branches) {
    branches.push_back(build_branch(stack, spec).branch);
    freeze(spec, branches.back());
  }
  return branches;
}

Blocks blocks_of(const StackSpec& stack, const std::vector<Branch>& branches) {
  Blocks blocks;
  for (const auto& block : stack.blocks) {
    blocks.push_back({branches[block.first], branches[block.second]});
  }
  return blocks;
}

// {y1, y2} of `blocks`, as the stack within a branch is asked to run.
std::vector<Tensor> run_within(
    const StackSpec& stack,
    const Blocks& blocks,
    const Tensor& x1,
    const Tensor& x2,
    const std::vector<Tensor>& context) {
  if (Within::way() == Way::kPlain) {
    return PlainStack{blocks, stack.options, stack.inverse}.streams(
        x1, x2, context);
  }
  const auto& run =
      stack.inverse ? reversible_sequence_inverse : reversible_sequence;
  const auto y = run(blocks, x1, x2, context, stack.options);
  return {std::get<0>(y), std::get<1>(y)};
}

// A user's module that runs a stack in its forward.
class AroundImpl : public torch::nn::Module, public Replaceable {
 public:
  AroundImpl(
      std::shared_ptr<const StackSpec> spec,
      std::vector<Branch> branches,
      const Tensor& initial)
      : spec_(std::move(spec)), branches_(std::move(branches)) {
    weight = register_parameter("weight", initial);
    for (std::size_t i = 0; i < branches_.size(); ++i) {
      register_module(std::to_string(i), branches_[i].module());
    }
  }

  Tensor forward(
      const Tensor& x, const Tensor& first = {}, const Tensor& second = {}) {
    std::vector<Tensor> context = {first, second};
    context.resize(spec_->context.size());
    const auto y = run_within(
        *spec_, blocks_of(*spec_, branches_), (x * weight).tanh(), x, context);
    return 0.5 * (y[0] + y[1]);
  }

  std::shared_ptr<torch::nn::Module> clone(
      const torch::optional<c10::Device>& device) const override {
    std::vector<Branch> branches;
    for (const auto& branch : branches_) {
      branches.push_back(branch.clone(device));
    }
    auto copy = std::make_shared<AroundImpl>(
        spec_, std::move(branches), weight.detach().clone());
    copy->train(is_training());
    return copy;
  }

  Tensor parameter() const override {
    return weight;
  }
  void replace(const Tensor& value, bool registered) override {
    weight = value;
    if (registered) {
      parameters_["weight"] = value;
    }
  }

  Tensor weight;

 private:
  std::shared_ptr<const StackSpec> spec_;
  std::vector<Branch> branches_;
};

// A function, and the parameters that it takes.
struct Piece {
  Branch::Function function;
  std::vector<Tensor> parameters;
};

Piece stack_function(const StackSpec& stack);

Piece piece(const StackSpec& stack, const BranchSpec& spec) {
  switch (spec.kind) {
    case Kind::kStackFunction:
      return stack_function(*spec.stack);
    case Kind::kNoise:
      return {
          [p = spec.dropout](const Tensor& x, at::TensorList, at::TensorList) {
            return x.tanh() * drawn_mask(x, p);
          },
          {}};
    default:
      return {
          [](const Tensor& x,
             at::TensorList context,
             at::TensorList parameters) {
            auto out = (x * parameters[0] + parameters[1]).tanh();
            for (const Tensor& tensor : context) {
              out = mix(out, tensor);
            }
            return out;
          },
          {sample_weight(stack), sample_weight(stack)}};
  }
}

// A function of all parameters of its stack, whose branches are made anew, of
// functions again, in each call.
Piece stack_function(const StackSpec& stack) {
  std::vector<Piece> pieces;
  std::vector<Tensor> all;
  for (const auto& spec : stack.branches) {
    pieces.push_back(piece(stack, spec));
    const auto& own = pieces.back().parameters;
    all.insert(all.end(), own.begin(), own.end());
  }
  return {
      [stack, pieces](
          const Tensor& x, at::TensorList context, at::TensorList parameters) {
        std::vector<Branch> branches;
        for (const auto& piece : pieces) {
          const auto count = piece.parameters.size();
          branches.push_back(
              Branch::function(piece.function, parameters.slice(0, count).vec())
                  .context());
          parameters = parameters.slice(count);
        }
        const auto y =
            run_within(stack, blocks_of(stack, branches), x, x, context.vec());
        return 0.5 * (y[0] + y[1]);
      },
      all};
}

}  // namespace

Branch build_stack_branch(const StackSpec& around, const BranchSpec& spec) {
  const auto& stack = *spec.stack;
  switch (spec.kind) {
    case Kind::kStack: {
      const auto module =
          std::make_shared<StackImpl>(stack.options, stack.inverse);
      for (const auto& block : blocks_of(stack, build_branches(stack))) {
        module->push_back(block.f, block.g);
      }
      return module;
    }
    case Kind::kStackModule:
      return std::make_shared<AroundImpl>(
          spec.stack, build_branches(stack), sample_weight(around));
    default: {
      const auto whole = stack_function(stack);
      return Branch::function(whole.function, whole.parameters);
    }
  }
}

void freeze(const BranchSpec& spec, const Branch& branch) {
  auto parameters = branch.parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    // Only a leaf can be frozen.
    const bool chosen = spec.frozen == Frozen::kAll ||
                        (spec.frozen == Frozen::kFirstParameter && i == 0);
    if (chosen && parameters[i].is_leaf()) {
      parameters[i].set_requires_grad(false);
    }
  }
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
