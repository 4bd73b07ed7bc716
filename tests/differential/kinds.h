#pragma once

/// What the branches of random programs are made of.

namespace torchrev {
namespace test {
namespace differential {

/// See `traits`.
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
  // Those above are drawn first, those below replace some of them: a seed keeps
  // the rest of its meaning when there are more.
  kStack,
  kStackModule,
  kStackFunction,
  kScriptStack,
  kObserver,
  kLargeBuffer,
  kAuxiliary,
  kWeightNorm,
  kGradMode,
  kDifferentiates,
  kMaxNorm,
  kInitialises,
  kThreadPool,
  kRemember,
  kFuse,
  kScriptLists,
  kScriptDictionaries,
  kScriptObserver,
  kScriptAuxiliary,
  kScriptTree,
  kDrawnDropout,
};
constexpr int kFirstKinds = static_cast<int>(Kind::kStack);
constexpr int kKindCount = static_cast<int>(Kind::kDrawnDropout) + 1;

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
  /// Whether it treats samples one by one, so that they may come in chunks.
  bool by_sample = false;
  /// Whether it is made of a stack.
  bool stack = false;
};
const Traits& traits(Kind kind);
/// Whether it is a TorchScript module.
bool is_scripted(Kind kind);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
