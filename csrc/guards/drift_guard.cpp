#include "guards/drift_guard.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "check.h"

namespace torchrev {
namespace detail {

namespace {

// i -> i * multiplier + offset, modulo the number of elements: spread evenly,
// and in step with no dimension. Both are primes.
constexpr int64_t kMultiplier = 2654435761;
constexpr int64_t kOffset = 1000003;

at::ScalarType dtype_of_sums(const Tensor& x) {
  return c10::promoteTypes(at::kFloat, x.scalar_type());
}

// |found - expected| / |expected|; 0 where that cannot be judged.
Tensor relative_difference(
    const Tensor& found, const Tensor& expected, const Tensor& finite) {
  const auto dtype = dtype_of_sums(expected);
  const auto reference = expected.to(dtype);
  const auto scale = reference.norm();
  const auto drift = (found.to(dtype) - reference).norm() / scale;
  const auto judged = finite.logical_and(scale.isfinite());
  return at::where(judged.logical_and(scale > 0), drift, at::zeros_like(drift));
}

}  // namespace

DriftGuard::DriftGuard(
    const char* entry,
    double tolerance,
    int64_t begin,
    int64_t end,
    bool rebuilt_first,
    std::shared_ptr<DeferredChecks> checks)
    : entry_(entry),
      tolerance_(tolerance),
      end_(end),
      checks_(std::move(checks)) {
  const auto depth = end - begin;
  const auto count = std::min(std::abs(depth), kFingerprints);
  for (int64_t i = 0; i < count; ++i) {
    blocks_.push_back(begin + i * depth / count);
  }
  if (!rebuilt_first) {
    blocks_[0] = begin + (depth < 0 ? -1 : 1);
  }
}

int64_t DriftGuard::slot_of(int64_t block) const {
  // The last of equal ones: a shallow segment fills several with one block.
  const auto found = std::find(blocks_.rbegin(), blocks_.rend(), block);
  return found == blocks_.rend() ? -1 : blocks_.rend() - found - 1;
}

Tensor DriftGuard::fingerprint(const StreamPair& pair) {
  return at::stack({pair[0].take(positions_), pair[1].take(positions_)});
}

void DriftGuard::receive_kept() const {
  for (const auto* tensor : {&kept_, &finite_, &positions_}) {
    if (tensor->defined()) {
      written_.receive(*tensor);
    }
  }
}

// A later block may run on another stream than the one before.
void DriftGuard::in_forward(int64_t block, const StreamPair& pair) {
  const auto slot = slot_of(block);
  if (slot < 0 && block != end_) {
    return;
  }
  const at::NoGradGuard no_grad;
  receive_kept();
  // A forward that overflowed is rebuilt as NaN, which would be taken for
  // drift.
  if (block == end_) {
    const auto dtype = dtype_of_sums(pair[0]);
    finite_ = (pair[0].sum(dtype) + pair[1].sum(dtype)).isfinite();
  }
  if (slot >= 0 && pair[0].numel() > 0) {
    keep(slot, pair);
  }
  written_ = Handover(pair[0]);
}

void DriftGuard::keep(int64_t slot, const StreamPair& pair) {
  if (!kept_.defined()) {
    // As many at every depth, so that bytes do not depend on it.
    kept_ = at::empty({kFingerprints, 2, kSamples}, pair[0].options());
    positions_ = at::arange(kSamples, pair[0].options().dtype(at::kLong))
                     .mul_(kMultiplier)
                     .add_(kOffset)
                     .remainder_(pair[0].numel());
  }
  kept_[slot].copy_(fingerprint(pair));
}

void DriftGuard::rebuilt(int64_t block, const StreamPair& pair) {
  const auto slot = slot_of(block);
  if (slot < 0 || !kept_.defined()) {
    return;
  }
  const at::NoGradGuard no_grad;
  receive_kept();
  submit_check(
      relative_difference(fingerprint(pair), kept_[slot], finite_),
      [entry = entry_,
       tolerance = tolerance_,
       block,
       inverse = blocks_[0] > end_](double drift) {
        // Written so that NaN is too much.
        TORCHREV_CHECK(
            ValueError,
            drift <= tolerance,
            entry,
            c10::str(
                "the streams that backward rebuilds ",
                inverse ? "after block " : "before block ",
                inverse ? block - 1 : block,
                " to differ from those of forward by at most drift_tolerance "
                "= ",
                tolerance,
                " of their norm"),
            c10::str(drift),
            "Rounding adds up block by block: save_every(k) bounds it, "
            "stream_dtype(torch::kDouble) makes it small, fraction_bits(n) "
            "removes it. Or a branch does not give the same result twice.");
      },
      checks_);
}

void DriftGuard::pass_ended() {
  if (checks_) {
    checks_->end_run();
  }
}

}  // namespace detail
}  // namespace torchrev
