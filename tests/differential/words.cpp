#include <algorithm>
#include <set>

#include "draw.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

bool has_kind(const StackSpec& stack, std::initializer_list<Kind> kinds) {
  return any_branch(stack, [&](const BranchSpec& spec) {
    return std::find(kinds.begin(), kinds.end(), spec.kind) != kinds.end();
  });
}

void draw_inverses(Dice& dice, Program& program) {
  const auto which = dice.below(8);
  const bool determined =
      !program.one_tensor() ||
      program.options.streams().kind == Streams::Kind::kSplit;
  program.inverses[0] = determined && (which == 0 || which == 1);
  program.inverses[1] = determined && (which == 1 || which == 2);
  // Somewhere the forward of a stack has to be followed by its inverse.
  if (which == 2) {
    program.schedule = Schedule::kChained;
  }
}

void draw_chunks(Dice& dice, Program& program) {
  const auto splits = [&](std::size_t branch) {
    return traits(program.branches[branch].kind).by_sample;
  };
  const bool f = std::all_of(
      program.blocks.begin(), program.blocks.end(), [&](const auto& block) {
        return splits(block.first);
      });
  const bool g = std::all_of(
      program.blocks.begin(), program.blocks.end(), [&](const auto& block) {
        return splits(block.second);
      });
  program.options.chunk_dim(0);
  if (f && dice.one_in(2)) {
    program.options.chunks_f(dice.between(2, 3));
  }
  if (g && dice.one_in(2)) {
    program.options.chunks_g(dice.between(2, 3));
  }
}

void draw_passes(Dice& dice, Program& program) {
  if (dice.one_in(3)) {
    program.derivative = dice.one_of(
        {Derivative::kParts,
         Derivative::kInputsFirst,
         Derivative::kInputsLast,
         Derivative::kInnerNodes,
         Derivative::kInnerNodes});
  }
  program.order = dice.below(3);
  program.retains = dice.one_in(3);
  program.steps = dice.one_in(3) ? dice.between(2, 3) : 1;
}

void draw_changes(Dice& dice, Program& program) {
  program.change = dice.one_in(3) ? static_cast<Change>(dice.between(1, 8))
                                  : Change::kNothing;
  program.changed = dice.bits();
  program.replaced_by_trained = dice.one_in(2);
  program.auxiliary_in_loss =
      dice.one_in(3) &&
      has_kind(
          program,
          {Kind::kAuxiliary, Kind::kWeightNorm, Kind::kScriptAuxiliary});
  program.interruption = Interruption::kNone;
  if (has_kind(program, {Kind::kFuse}) && dice.one_in(2)) {
    program.interruption = dice.one_of(
        {Interruption::kSecondForward, Interruption::kFirstBackward});
  }
  program.validates_between = dice.one_in(6);
}

// torch::nn::Module::clone copies a module once for each place that it has.
bool is_cloneable(const StackSpec& stack) {
  bool cloneable = true;
  for_each_branch(stack, [&](const BranchSpec& spec) {
    cloneable &= traits(spec.kind).cloneable;
    if (spec.kind == Kind::kStack) {
      std::set<std::size_t> places;
      for (const auto& block : spec.stack->blocks) {
        cloneable &= places.insert(block.first).second;
        cloneable &= places.insert(block.second).second;
      }
    }
  });
  return cloneable;
}

// What was drawn before has to fit what was drawn later.
void settle(Program& program) {
  program.cloned &= is_cloneable(program);
  const auto draws = [](const auto& spec) { return traits(spec.kind).draws; };
  if (any_branch(program, draws)) {
    program.options.preserve_rng_state(true);
  }
  const auto stack = [](const auto& spec) { return traits(spec.kind).stack; };
  program.anomaly_mode &= !any_branch(program, stack);
  // A program ends where it is refused.
  if (program.auxiliary_in_loss ||
      (program.change != Change::kNothing &&
       program.change != Change::kReplacedAndRestored)) {
    program.steps = 1;
  }
  // What the last call has left belongs to one loss.
  if (program.auxiliary_in_loss && program.schedule != Schedule::kRetained) {
    program.schedule = Schedule::kOnce;
  }
  // Whoever takes handles of parameters after forward hides that a member has
  // lost one.
  if (program.change == Change::kMemberReplaced &&
      !program.replaced_by_trained) {
    program.derivative = Derivative::kBackward;
    program.schedule = Schedule::kOnce;
    program.validates_between = false;
  }
  if (program.interruption == Interruption::kFirstBackward) {
    program.change = Change::kNothing;
    program.auxiliary_in_loss = false;
  }
  // What TorchScript has optimised has second derivatives of its own.
  if (program.second_order() && has_kind(program, {Kind::kScriptStack})) {
    program.derivative = Derivative::kGradPart;
  }
  // What a kept block writes counts: plain autograd runs it.
  if (has_kind(program, {Kind::kMaxNorm})) {
    program.options.store_last(0);
  }
  // How many nodes there are, and so how often hooks are called, differs.
  program.hooks &= program.derivative != Derivative::kInnerNodes &&
                   program.interruption != Interruption::kFirstBackward;
}

}  // namespace

void draw_words(Dice& dice, Program& program) {
  draw_later_kinds(dice, program, /*depth=*/0);
  draw_inverses(dice, program);
  draw_chunks(dice, program);
  draw_passes(dice, program);
  draw_changes(dice, program);
  settle(program);
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
