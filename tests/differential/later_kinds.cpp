#include <algorithm>

#include "draw.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

// Stacks within branches within stacks.
constexpr int kDeepest = 3;

// What a stack of functions is made of: see stack_function.
Kind draw_function(Dice& dice, int depth) {
  return depth < kDeepest && dice.one_in(3)
             ? Kind::kStackFunction
             : dice.one_of({Kind::kFunction, Kind::kFunction, Kind::kNoise});
}

// What a scripted stack is made of.
Kind draw_script(Dice& dice) {
  return dice.one_of(
      {Kind::kScript,
       Kind::kScriptDropout,
       Kind::kScriptState,
       Kind::kScriptBatchNorm,
       Kind::kScriptLists,
       Kind::kScriptTree});
}

void draw_inner_kinds(Dice& dice, StackSpec& stack, Kind outer, int depth);

// One input makes both streams: a half each where that leaves norms more than
// two numbers, which they would make 1 and -1.
void draw_inner_streams(Dice& dice, StackSpec& stack) {
  const auto dims = static_cast<int64_t>(stack.shape.size());
  const auto dim = dice.below(dims);
  const auto channels = stack.domain == Domain::kTokens ? dims - 1 : 1;
  const auto size = stack.shape[dim];
  if ((size == 2 && dim == 0) ||
      (size == 4 && dim != channels && stack.shape[0] > 1)) {
    stack.shape[dim] /= 2;
    stack.options.split(dim);
  } else {
    stack.options.duplicate();
  }
}

// What one call of an operator takes.
void draw_keywords(Dice& dice, StackSpec& stack) {
  stack.options.duplicate();
  draw_kept(dice, stack.options);
}

void draw_inner_options(Dice& dice, StackSpec& stack, Kind outer) {
  if (outer == Kind::kScriptStack) {
    draw_keywords(dice, stack);
    return;
  }
  if (outer == Kind::kStack) {
    draw_inner_streams(dice, stack);
  }
  draw_kept(dice, stack.options);
  const bool split = stack.options.streams().kind == Streams::Kind::kSplit;
  stack.inverse = split && dice.one_in(4);
  // The inverses of other couplings grow with the depth of a nest.
  if (!stack.inverse) {
    draw_arithmetic(dice, stack);
  }
}

std::shared_ptr<const StackSpec> draw_inner_stack(
    Dice& dice, const StackSpec& around, const BranchSpec& branch, int depth) {
  auto stack = std::make_shared<StackSpec>();
  stack->domain = around.domain;
  stack->shape = around.shape;
  stack->dtype = around.dtype;
  stack->inner_of_function = branch.kind == Kind::kStackFunction;
  for (const auto index : branch.context) {
    stack->context.push_back(around.context[index]);
  }
  draw_inner_options(dice, *stack, branch.kind);
  const auto size = dice.between(1, 2);
  for (int64_t i = 0; i < 2 * size; ++i) {
    stack->branches.push_back(draw_branch(dice, *stack));
  }
  draw_inner_kinds(dice, *stack, branch.kind, depth);
  for (int64_t i = 0; i < size; ++i) {
    const auto g = dice.one_in(6) ? 0 : 2 * i + 1;
    stack->blocks.emplace_back(2 * i, g);
  }
  return stack;
}

// Its kind has been chosen.
void draw_rest(
    Dice& dice, const StackSpec& stack, BranchSpec& spec, int depth) {
  spec.context.clear();
  const auto size = static_cast<int64_t>(stack.context.size());
  for (int i = 0; size > 0 && i < traits(spec.kind).context; ++i) {
    spec.context.push_back(dice.below(size));
  }
  if (traits(spec.kind).stack) {
    spec.stack = draw_inner_stack(dice, stack, spec, depth + 1);
  }
}

void draw_inner_kinds(Dice& dice, StackSpec& stack, Kind outer, int depth) {
  if (outer != Kind::kScriptStack && outer != Kind::kStackFunction) {
    draw_later_kinds(dice, stack, depth);
    return;
  }
  for (auto& spec : stack.branches) {
    spec.kind = outer == Kind::kScriptStack ? draw_script(dice)
                                            : draw_function(dice, depth);
    draw_rest(dice, stack, spec, depth);
  }
}

// Whether a branch at this depth may be of this kind. What it writes to its
// parameters in each call counts for the stacks around, too.
bool fits_depth(Kind kind, int depth) {
  return traits(kind).stack ? depth < kDeepest
                            : depth == 0 || kind != Kind::kMaxNorm;
}

}  // namespace

void draw_later_kinds(Dice& dice, StackSpec& stack, int depth) {
  constexpr int kLaterKinds = kKindCount - kFirstKinds;
  for (auto& spec : stack.branches) {
    if (!dice.one_in(3)) {
      continue;
    }
    const auto kind = static_cast<Kind>(kFirstKinds + dice.below(kLaterKinds));
    // A copy of more than 1 MiB a call takes its time.
    const bool rare = kind == Kind::kLargeBuffer && !dice.one_in(8);
    if (!rare && fits_depth(kind, depth)) {
      spec.kind = kind;
      draw_rest(dice, stack, spec, depth);
    }
  }
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
