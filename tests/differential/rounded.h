#pragma once

#include <functional>

#include "run.h"

/// What rounding alone makes of a program.

namespace torchrev {
namespace test {
namespace differential {

double largest(const Tensor& tensor);
double largest(const std::vector<NamedTensor>& tensors);

/// The program in plain autograd, where each branch sees streams that differ by
/// the rounding of the largest one, as rebuilt ones do, in several ways: a
/// decision, or a rounding to a grid, falls otherwise in some only. It is run
/// where something differs.
class Rounded {
 public:
  Rounded(
      const Program& program,
      const Record& expected,
      double largest,
      const std::function<Record()>& run_plain)
      : program_(program),
        expected_(expected),
        largest_(largest),
        run_plain_(run_plain) {}

  /// What rounding changes in gradients and outputs, relative to the largest
  /// element of each: the most.
  double change();

  /// What sums that mathematics makes zero may come to.
  double of_zero() const;

  double largest_stream() const {
    return largest_;
  }

 private:
  double epsilon() const;
  Record rounded(double phase) const;

  const Program& program_;
  const Record& expected_;
  double largest_;
  const std::function<Record()>& run_plain_;
  torch::optional<double> change_;
};

}  // namespace differential
}  // namespace test
}  // namespace torchrev
