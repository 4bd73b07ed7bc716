#pragma once

#include "dice.h"
#include "program.h"

/// The parts of `draw`.

namespace torchrev {
namespace test {
namespace differential {

/// Of one of the first kinds; see Kind.
BranchSpec draw_branch(Dice& dice, const StackSpec& stack);
/// Which blocks keep what.
void draw_kept(Dice& dice, ReversibleOptions& options);
/// How streams take up values.
void draw_arithmetic(Dice& dice, StackSpec& stack);

/// Gives some of the branches another kind, the later ones included: stacks
/// within branches, state of every sort. `depth`: of the stacks around.
void draw_later_kinds(Dice& dice, StackSpec& stack, int depth);
/// The other words that programs have learned since: inverses, chunks, passes
/// in parts, changes between forward and backward.
void draw_words(Dice& dice, Program& program);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
