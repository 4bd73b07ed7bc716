#pragma once

#include <torchrev/torchrev.h>

#include <functional>
#include <vector>

/// Random numbers that plain autograd can be given again: where several threads
/// draw from one generator, no seed tells which numbers a run got.

namespace torchrev {
namespace test {
namespace differential {

/// The numbers that the forwards of one run drew, in their order.
class DrawLog {
 public:
  enum class Mode { kRecord, kReplay, kReplayThenDraw };

  explicit DrawLog(Mode mode) : mode_(mode) {}
  /// Replays what `other` has recorded: all that is drawn, or the beginning,
  /// where an error ended what drew.
  static DrawLog replay_of(const DrawLog& other, bool is_complete);

  /// The number of the next draw.
  std::size_t next() const;

  /// What `draw` returns, or returned when this was recorded. `number` is what
  /// next() was when this draw was first made: a branch whose first call runs
  /// twice makes it twice.
  Tensor take(std::size_t number, const std::function<Tensor()>& draw);

 private:
  Mode mode_;
  std::vector<Tensor> numbers_;
  std::size_t next_ = 0;
};

/// While it lives, draws of this thread are those of `log`, if there is one.
class DrawScope {
 public:
  explicit DrawScope(DrawLog* log);
  ~DrawScope();
  DrawScope(const DrawScope&) = delete;
  DrawScope& operator=(const DrawScope&) = delete;

 private:
  DrawLog* outer_;
};

/// 0 with probability `p`, else 1 / (1 - p), in the shape and layout of `x`.
Tensor drawn_mask(const Tensor& x, double p);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
