#pragma once

#include <vector>

#include "guards/stream_observer.h"

namespace torchrev {
namespace detail {

// Throws if the streams that backward rebuilds are not those of forward.
//
// Keeps some elements of the streams before up to kFingerprints blocks, evenly
// spaced.
class DriftGuard final : public StreamObserver {
 public:
  static constexpr int64_t kFingerprints = 4;
  // Of each stream.
  static constexpr int64_t kSamples = 128;

  // Of blocks [begin, end) of a stack; `rebuilt_first`: whether the streams
  // before block `begin` will be rebuilt. A stack that runs the other way goes
  // from the streams before block `begin` down to those before block `end`.
  DriftGuard(
      const char* entry,
      double tolerance,
      int64_t begin,
      int64_t end,
      bool rebuilt_first);

  void in_forward(int64_t block, const StreamPair& pair) override;
  void rebuilt(int64_t block, const StreamPair& pair) override;

 private:
  // The place of the fingerprint before `block`, or -1.
  int64_t slot_of(int64_t block) const;
  // [2, kSamples], at fixed pseudo-random positions.
  Tensor fingerprint(const StreamPair& pair);

  const char* entry_;
  double tolerance_;
  std::vector<int64_t> blocks_;
  int64_t end_;
  // [kFingerprints, 2, kSamples]
  Tensor kept_;
  // One element: whether all of the streams at the end of forward is finite.
  Tensor finite_;
  // Of the elements in kept_, [kSamples].
  Tensor positions_;
};

}  // namespace detail
}  // namespace torchrev
