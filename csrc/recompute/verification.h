#pragma once

#include <ATen/core/Tensor.h>

#include "check.h"

namespace torchrev {
namespace detail {

using at::Tensor;

// NOTE [First call]
// What a branch reads and writes besides its arguments, parameters, buffers,
// attributes and random numbers (a member that forward reassigns, a generator
// of its own, a clock) cannot be listed. It is caught by its effect: the first
// call of a branch, for each combination of train / eval flags, is run twice,
// as forward and as its recompute will run it, and has to give the same. Within
// it, and within recomputes, nothing else is verified: a nest of stacks would
// double its work at each depth.

// While it lives, this thread verifies nothing.
class WithoutVerification {
 public:
  WithoutVerification();
  ~WithoutVerification();
  WithoutVerification(const WithoutVerification&) = delete;
  WithoutVerification& operator=(const WithoutVerification&) = delete;

  static bool is_active();

 private:
  bool outer_;
};

// Whether a run and its repetition gave the same: to the bit on the CPU, to
// rounding on an accelerator, whose kernels may add up in any order, and where
// `rounds` says that the repetition rounds otherwise.
bool gave_the_same(const Tensor& value, const Tensor& again, bool rounds);

// Throws c10::ValueError if they did not.
void check_gave_the_same(const Place& place, bool same);

}  // namespace detail
}  // namespace torchrev
