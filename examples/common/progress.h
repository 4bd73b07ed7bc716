#pragma once

#include <cstdint>
#include <string>

namespace torchrev_examples {

/// Shows training as a bar on a terminal, else as a line every so often.
class Progress {
 public:
  /// @param first the step before the first, @param last the last one.
  Progress(int64_t first, int64_t last);

  /// @param status what to show of `step` besides its number.
  void update(int64_t step, const std::string& status);
  /// Ends the bar's line. Nothing is shown after it.
  void finish();

 private:
  std::string bar(int64_t step) const;
  std::string time_left(int64_t step) const;

  int64_t first_;
  int64_t last_;
  double begin_;
  bool terminal_;
  bool open_ = false;
};

/// Seconds of a clock that never goes back.
double seconds_now();

/// "61.3" for bytes / 2^20.
std::string mebibytes(int64_t bytes);

}  // namespace torchrev_examples
