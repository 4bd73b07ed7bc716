#pragma once

#include <torchrev/torchrev.h>

#include <cstdint>
#include <ostream>
#include <utility>
#include <vector>

/// The description of one random program: a reversible stack, what goes into
/// it and what is asked of it. Drawn from one integer, so that a failure is
/// reproduced by its seed.

namespace torchrev {
namespace test {
namespace differential {

/// What a branch is made of; see `traits`.
enum class Kind {
  kLinear,
  kMlp,
  kAttention,
  kConvolution,
  kBatchNorm,
  kCumulativeBatchNorm,
  kCounter,
  kDrift,
  kDropout,
  kTwoDropouts,
  kNoise,
  kTanh,
  kStrides,
  kConstant,
  kIdentity,
  kIgnoresInput,
  kWithoutGraph,
  kUnusedParameter,
  kFunction,
  kNonLeafFunction,
  kBufferFunction,
  kContextModule,
  kTwoContextModule,
  kContextFunction,
  kScript,
  kScriptDropout,
  kScriptState,
  kScriptBatchNorm,
  kScriptContext,
};
constexpr int kKindCount = static_cast<int>(Kind::kScriptContext) + 1;

/// Streams are tokens [N, T, C] or images [N, C, H, W].
enum class Domain { kTokens, kImages, kBoth };

struct Traits {
  const char* name;
  Domain domain = Domain::kBoth;
  /// How many context tensors it is routed; -1 for the whole list.
  int context = 0;
  /// Whether it draws random numbers.
  bool draws = false;
  /// Whether Branch::clone copies everything: not what a function captures.
  bool cloneable = true;
};
const Traits& traits(Kind kind);

enum class Frozen { kNothing, kFirstParameter, kAll };

struct BranchSpec {
  Kind kind;
  Frozen frozen;
  bool training;
  bool mutable_buffers;
  double dropout;
  /// Indices of the context tensors that it is routed.
  std::vector<int64_t> context;
};

/// A context tensor. An encoding is the result of an encoder: not a leaf.
enum class ContextKind { kMask, kIndex, kUndefined, kLeaf, kEncoding };

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

struct Program {
  uint64_t seed;
  Domain domain;
  /// Of one stream.
  std::vector<int64_t> shape;
  at::ScalarType dtype;
  std::vector<BranchSpec> branches;
  /// F and G of each block: indices into `branches`, which may repeat.
  std::vector<std::pair<std::size_t, std::size_t>> blocks;
  std::vector<ContextKind> context;
  Entry entry;
  ReversibleOptions options;
  /// Of x1 and x2; an entry that takes one tensor uses the first.
  InputSpec inputs[2];
  bool same_input;
  /// Whether y1 and y2 reach the loss.
  bool in_loss[2];
  Derivative derivative;
  Schedule schedule;
  /// Bit i: whether gradients are asked for tensor i modulo 64.
  uint64_t part;
  /// Whether the oracle's branches are clones, not built a second time.
  bool cloned;
  bool autocast;
  /// Random numbers are drawn, modes switched between forward and backward.
  bool draws_between;
  bool switches_modes;
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
};

/// The program of `seed`. Leaves torch's generators alone.
Program draw(uint64_t seed);

/// Every choice, one line a branch.
std::ostream& operator<<(std::ostream& stream, const Program& program);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
