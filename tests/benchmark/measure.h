#pragma once

#include <functional>
#include <vector>

#include "steps.h"

namespace torchrev_benchmark {

/// CPU time of the process, all threads, kernel included: other programs on the
/// machine disturb it less than the time on the clock.
double cpu_seconds();

double median(std::vector<double> values);

/// What one training step costs. Bytes are those of tensors, exact, above what
/// is allocated before the step.
struct Cost {
  double seconds = 0;
  /// After forward, the output included.
  int64_t retained = 0;
  int64_t peak = 0;
  int64_t allocations = 0;
};

/// What one step costs that runs `forward`, then `backward`.
Cost cost_of_step(
    const std::function<void()>& forward,
    const std::function<void()>& backward);

/// A stack of blocks with an input, a loss and allocated gradients of its
/// parameters, so that these do not count towards a step's bytes.
class Problem {
 public:
  /// @param tokens, batch T and N of the input [N, T, 2 C].
  Problem(const Blocks& blocks, int64_t batch, int64_t tokens, int64_t width);

  /// Takes one step from gradients that are zero.
  Cost measure(Step& step) const;
  /// CPU seconds of one step: the mean of `steps`, which add up gradients.
  double seconds_of(Step& step, int64_t steps) const;
  /// Those of x and of the parameters after one step.
  std::vector<Tensor> gradients(Step& step) const;

 private:
  void zero_gradients() const;

  std::vector<Tensor> parameters_;
  Tensor x_;
  Tensor weight_;
};

/// The largest of max |a - b| / max |b| over pairs of gradients.
double largest_difference(
    const std::vector<Tensor>& a, const std::vector<Tensor>& b);

/// Gradients that differ by more are wrong: rounding of float32, that of
/// rebuilt streams included, stays orders of magnitude below, and what is
/// computed wrongly differs by about 1.
constexpr double kLargestRounding = 1e-3;

}  // namespace torchrev_benchmark
