#pragma once

#include <utility>

#include "device/handover.h"
#include "streams/stream_pair.h"

namespace torchrev {
namespace detail {

// A pair that is left for others, who may run on another stream of its device:
// what they do with it is ordered after it was written, and its memory is kept
// until they have done it.
class HandedPair {
 public:
  // None.
  HandedPair() = default;
  // Written on the current stream.
  explicit HandedPair(StreamPair pair)
      : pair_(std::move(pair)), written_(pair_[0]) {}

  bool defined() const {
    return pair_.defined();
  }
  // For the current stream.
  StreamPair received() const {
    written_.receive({pair_.data(), pair_.size()});
    return pair_;
  }
  // The same, and nobody else gets it.
  StreamPair take() {
    auto pair = received();
    *this = {};
    return pair;
  }

 private:
  StreamPair pair_;
  Handover written_;
};

}  // namespace detail
}  // namespace torchrev
