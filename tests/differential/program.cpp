#include "program.h"

#include <algorithm>

#include "draw.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

// A context tensor is multiplied, masked or gathered with; attention adds it
// to its logits, which an index or the layout of an image does not fit.
bool fits(Kind kind, ContextKind context) {
  switch (kind) {
    case Kind::kAttention:
      return context != ContextKind::kIndex;
    case Kind::kScriptContext:
      return context != ContextKind::kIndex &&
             context != ContextKind::kUndefined;
    default:
      return true;
  }
}

std::vector<int64_t> draw_routing(
    Dice& dice, Kind kind, const std::vector<ContextKind>& context) {
  std::vector<int64_t> indices;
  const auto size = static_cast<int64_t>(context.size());
  for (int i = 0; size > 0 && i < traits(kind).context; ++i) {
    const auto index = dice.below(size);
    if (fits(kind, context[index])) {
      indices.push_back(index);
    }
  }
  return indices;
}

bool is_possible(const StackSpec& stack, Kind kind) {
  const auto& domain = traits(kind).domain;
  if (domain != Domain::kBoth && domain != stack.domain) {
    return false;
  }
  return kind != Kind::kScriptContext || !stack.context.empty();
}

}  // namespace

BranchSpec draw_branch(Dice& dice, const StackSpec& stack) {
  BranchSpec spec;
  do {
    spec.kind = static_cast<Kind>(dice.below(kFirstKinds));
    spec.context = draw_routing(dice, spec.kind, stack.context);
  } while (!is_possible(stack, spec.kind) ||
           (spec.kind == Kind::kScriptContext && spec.context.empty()));
  spec.frozen = dice.one_in(4)
                    ? dice.one_of({Frozen::kFirstParameter, Frozen::kAll})
                    : Frozen::kNothing;
  spec.training = !dice.one_in(6);
  spec.mutable_buffers = dice.one_in(8);
  spec.dropout = dice.one_of({0.1, 0.3, 0.5, 0.75});
  return spec;
}

namespace {

void draw_blocks(Dice& dice, Program& program) {
  const auto branch = [&] {
    if (!program.branches.empty() && dice.one_in(6)) {
      return static_cast<std::size_t>(
          dice.below(static_cast<int64_t>(program.branches.size())));
    }
    program.branches.push_back(draw_branch(dice, program));
    return program.branches.size() - 1;
  };
  const auto depth = dice.between(1, 5);
  for (int64_t i = 0; i < depth; ++i) {
    const auto f = branch();
    program.blocks.emplace_back(f, branch());
  }
}

void draw_shape(Dice& dice, Program& program) {
  program.domain = dice.one_in(3) ? Domain::kImages : Domain::kTokens;
  const auto batch = dice.between(1, 3);
  const auto width = dice.between(3, 5);
  // As many tokens as channels: a context tensor [T, C] is a mask [T, T], too.
  program.shape =
      program.domain == Domain::kTokens
          ? std::vector<int64_t>{batch, width, width}
          : std::vector<int64_t>{batch, width, 3, dice.between(3, 4)};
}

void draw_context(Dice& dice, Program& program) {
  const auto size = dice.one_in(3) ? 0 : dice.between(1, 4);
  for (int64_t i = 0; i < size; ++i) {
    program.context.push_back(static_cast<ContextKind>(dice.below(5)));
  }
}

InputSpec draw_input(Dice& dice, const Program& program) {
  InputSpec spec;
  spec.layout = Layout::kContiguous;
  if (dice.one_in(2)) {
    const auto layouts = program.domain == Domain::kImages ? 5 : 4;
    spec.layout = static_cast<Layout>(dice.below(layouts));
  }
  spec.gradient = dice.one_of(
      {Gradient::kLeaf, Gradient::kLeaf, Gradient::kNonLeaf, Gradient::kNone});
  return spec;
}

void draw_entry(Dice& dice, Program& program) {
  do {
    program.entry = static_cast<Entry>(dice.below(5));
  } while (program.entry == Entry::kBlock && program.blocks.size() != 1);
  const auto dims = static_cast<int64_t>(program.shape.size());
  if (program.one_tensor() && dice.one_in(3)) {
    program.options.duplicate();
  } else {
    program.options.split(dice.between(-1, dims - 1));
  }
  for (auto& input : program.inputs) {
    input = draw_input(dice, program);
  }
  program.same_input = dice.one_in(5);
  const auto loss = dice.below(4);
  program.in_loss[0] = loss != 1;
  program.in_loss[1] = loss != 2;
}

// Options that later versions support are drawn here.
void draw_options(Dice& dice, Program& program) {
  const bool draws = std::any_of(
      program.branches.begin(), program.branches.end(), [](const auto& branch) {
        return traits(branch.kind).draws;
      });
  program.options.preserve_rng_state(draws || dice.one_in(2));
  program.options.verify_constant_buffers(dice.one_in(4));
}

// y = x exp(tanh(v / 4)) + v: the affine coupling, for branches of any kind.
struct AffineOfOneWidth : Coupling {
  static Tensor doubled(const Tensor& value) {
    return at::stack({value / 4, value});
  }
  Tensor forward(
      const Tensor& x,
      const Tensor& value,
      const Tensor& other,
      const StepId& step) const override {
    return affine_coupling(0)
        ->forward(x.unsqueeze(0), doubled(value), other.unsqueeze(0), step)
        .squeeze(0);
  }
  Tensor inverse(
      const Tensor& y,
      const Tensor& value,
      const Tensor& other,
      const StepId& step) const override {
    return affine_coupling(0)
        ->inverse(y.unsqueeze(0), doubled(value), other.unsqueeze(0), step)
        .squeeze(0);
  }
};

}  // namespace

// Drawn behind the above, so that all else of a seed stays as it was before
// there were such options.
void draw_kept(Dice& dice, ReversibleOptions& options) {
  if (dice.one_in(3)) {
    options.save_every(dice.between(1, 3));
  }
  if (dice.one_in(3)) {
    options.store_last(dice.between(1, 3));
  }
}

namespace {}  // namespace

// How streams take up values. Drawn after all else, for the same reason.
void draw_arithmetic(Dice& dice, StackSpec& stack) {
  auto& options = stack.options;
  if (stack.dtype == at::kFloat && dice.one_in(4)) {
    options.stream_dtype(at::kDouble);
  }
  switch (dice.below(8)) {
    case 0:
      options.coupling(momentum_coupling(dice.one_of({0.5, 0.9})));
      if (options.streams().kind == Streams::Kind::kDuplicate) {
        options.velocity();
      }
      break;
    case 1:
      options.coupling(std::make_shared<AffineOfOneWidth>());
      break;
    case 2:
      options.fraction_bits(stack.dtype == at::kFloat ? 8 : 30);
      break;
    default:
      break;
  }
}

namespace {

void draw_derivative(Dice& dice, Program& program) {
  const bool smooth = program.dtype == at::kDouble;
  program.derivative = static_cast<Derivative>(dice.below(smooth ? 5 : 3));
  program.schedule =
      dice.one_in(2) ? Schedule::kOnce : static_cast<Schedule>(dice.below(6));
  program.part = dice.bits() | dice.bits();
}

void draw_surroundings(Dice& dice, Program& program) {
  program.cloned = dice.one_in(2) &&
                   std::all_of(
                       program.branches.begin(),
                       program.branches.end(),
                       [](const auto& b) { return traits(b.kind).cloneable; });
  program.autocast = program.dtype == at::kFloat && dice.one_in(2);
  program.draws_between = dice.one_in(2);
  program.switches_modes = dice.one_in(3);
  program.hooks = dice.one_in(3);
  // Anomaly mode takes a backtrace at each node: tens of milliseconds.
  program.anomaly_mode = program.blocks.size() <= 2 && dice.one_in(30);
  program.other_thread = dice.one_in(8);
}

}  // namespace

Program draw(uint64_t seed) {
  Dice dice(seed);
  Program program{};
  program.seed = seed;
  program.dtype = dice.one_in(4) ? at::kFloat : at::kDouble;
  draw_shape(dice, program);
  draw_context(dice, program);
  draw_blocks(dice, program);
  draw_entry(dice, program);
  draw_options(dice, program);
  draw_derivative(dice, program);
  draw_surroundings(dice, program);
  draw_kept(dice, program.options);
  draw_arithmetic(dice, program);
  draw_words(dice, program);
  return program;
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
