#pragma once

#include <torchrev/torchrev.h>

#include <cstdint>
#include <memory>
#include <ostream>
#include <utility>
#include <vector>

#include "kinds.h"

/// The description of one random program: a reversible stack, what goes into
/// it and what is asked of it. Drawn from one integer, so that a failure is
/// reproduced by its seed.

namespace torchrev {
namespace test {
namespace differential {

enum class Frozen { kNothing, kFirstParameter, kAll };

struct StackSpec;

struct BranchSpec {
  Kind kind;
  Frozen frozen;
  bool training;
  bool mutable_buffers;
  double dropout;
  /// Indices of the context tensors that it is routed.
  std::vector<int64_t> context;
  /// Of a branch that is made of a stack.
  std::shared_ptr<const StackSpec> stack;
  /// Of a branch of the outermost stack: see Program::device.
  c10::Device device = at::kCPU;
};

/// A context tensor. An encoding is the result of an encoder: not a leaf.
enum class ContextKind { kMask, kIndex, kUndefined, kLeaf, kEncoding };

/// A stack: that of a program, or one within a branch.
struct StackSpec {
  Domain domain;
  /// Of one stream.
  std::vector<int64_t> shape;
  at::ScalarType dtype;
  std::vector<BranchSpec> branches;
  /// F and G of each block: indices into `branches`, which may repeat.
  std::vector<std::pair<std::size_t, std::size_t>> blocks;
  std::vector<ContextKind> context;
  ReversibleOptions options;
  /// Of a stack within a branch: whether the branch is its inverse, and whether
  /// its branches are functions of parameters that the branch hands them.
  bool inverse = false;
  bool inner_of_function = false;
};

/// How an input lies in memory.
enum class Layout {
  kContiguous,
  kTransposed,
  kNarrowed,
  kExpanded,
  kChannelsLast,
};
enum class Gradient { kNone, kLeaf, kNonLeaf };

struct InputSpec {
  Layout layout;
  Gradient gradient;
};

enum class Entry { kBlock, kSequence, kResidual, kModule, kModuleStreams };

/// What is asked of autograd. `part`: for some of inputs and parameters.
enum class Derivative {
  kBackward,
  kBackwardPart,
  kGradPart,
  kPenalty,
  kHessianVector,
  // Several passes over one graph: for one part after the other, for the
  // streams that go in and then for the rest, and the other way round.
  kParts,
  kInputsFirst,
  kInputsLast,
  // For the inputs, and then from each inner node that uses a leaf.
  kInnerNodes,
};

/// Which forwards and backwards there are, and in which order.
enum class Schedule {
  kOnce,
  kRetained,
  kTwoForwards,
  kSecondBackwardFirst,
  kSumOfTwo,
  kChained,
};

/// What happens to the model, its context or outputs between forward and
/// backward.
enum class Change {
  kNothing,
  /// A parameter becomes another tensor, trained or frozen.
  kReplaced,
  /// The member of a C++ module alone, not what is registered.
  kMemberReplaced,
  kReplacedAndRestored,
  kParameterWritten,
  kParameterFlagged,
  kBufferWritten,
  kContextWritten,
  kOutputWritten,
};

/// Where a branch of kind kFuse throws.
enum class Interruption { kNone, kSecondForward, kFirstBackward };

struct Program : StackSpec {
  uint64_t seed;
  /// Where its streams are.
  c10::Device device = at::kCPU;
  Entry entry;
  /// Whether the first, and the second call of the entry is that of the
  /// inverse.
  bool inverses[2];
  /// Of x1 and x2; an entry that takes one tensor uses the first.
  InputSpec inputs[2];
  bool same_input;
  /// Whether y1 and y2 reach the loss.
  bool in_loss[2];
  /// Whether what branches keep of their graphs does.
  bool auxiliary_in_loss;
  Derivative derivative;
  Schedule schedule;
  /// How often all of it is done, the parameters shrinking in between.
  int64_t steps;
  Change change;
  /// Chooses among what may change.
  uint64_t changed;
  /// Of a replaced parameter.
  bool replaced_by_trained;
  Interruption interruption;
  /// Bit i: whether gradients are asked for tensor i modulo 64.
  uint64_t part;
  /// Of passes from inner nodes: their order, and whether they retain.
  int64_t order;
  bool retains;
  /// Whether the oracle's branches are clones, not built a second time.
  bool cloned;
  bool autocast;
  /// Random numbers are drawn, modes switched between forward and backward.
  bool draws_between;
  bool switches_modes;
  /// A forward in evaluation mode and without gradients comes between, too.
  bool validates_between;
  bool hooks;
  bool anomaly_mode;
  bool other_thread;

  bool one_tensor() const {
    return entry == Entry::kResidual || entry == Entry::kModule;
  }
  bool second_order() const {
    return derivative == Derivative::kPenalty ||
           derivative == Derivative::kHessianVector;
  }
  /// Whether branches run in chunks, which round otherwise than the whole.
  bool in_chunks() const {
    return options.chunks_f() > 1 || options.chunks_g() > 1;
  }
};

/// The program of `seed`. Leaves torch's generators alone.
Program draw(uint64_t seed);

/// Every choice, one line a branch.
std::ostream& operator<<(std::ostream& stream, const Program& program);

/// Calls visit(spec) for each branch of `stack` and of the stacks in it.
template <typename Visit>
void for_each_branch(const StackSpec& stack, const Visit& visit) {
  for (const auto& branch : stack.branches) {
    visit(branch);
    if (branch.stack) {
      for_each_branch(*branch.stack, visit);
    }
  }
}

template <typename Holds>
bool any_branch(const StackSpec& stack, const Holds& holds) {
  bool any = false;
  for_each_branch(stack, [&](const BranchSpec& spec) { any |= holds(spec); });
  return any;
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
