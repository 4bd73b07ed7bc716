#pragma once

#include <memory>
#include <vector>

#include "device/handover.h"
#include "guards/deferred_check.h"
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
  // `checks`: who gets the error where it comes later.
  DriftGuard(
      const char* entry,
      double tolerance,
      int64_t begin,
      int64_t end,
      bool rebuilt_first,
      std::shared_ptr<DeferredChecks> checks = nullptr);

  void in_forward(int64_t block, const StreamPair& pair) override;
  void rebuilt(int64_t block, const StreamPair& pair) override;
  void pass_ended() override;

 private:
  // The place of the fingerprint before `block`, or -1.
  int64_t slot_of(int64_t block) const;
  // [2, kSamples], at fixed pseudo-random positions.
  Tensor fingerprint(const StreamPair& pair);
  void keep(int64_t slot, const StreamPair& pair);
  // Orders what follows on the current stream after what forward has kept, and
  // keeps the memory of it until that stream is done.
  void receive_kept() const;

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
  // Of these three, where they were written last.
  Handover written_;
  std::shared_ptr<DeferredChecks> checks_;
};

}  // namespace detail
}  // namespace torchrev
