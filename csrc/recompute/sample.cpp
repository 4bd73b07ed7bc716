#include "recompute/sample.h"

#include <ATen/Dispatch.h>

#include <algorithm>
#include <cmath>

namespace torchrev {
namespace detail {

namespace {

// An element may differ, as that of a row for which a branch decides otherwise.
constexpr std::size_t kMayDiffer = 1;

// What rounding adds up to over many blocks.
double rounding_of(at::ScalarType type) {
  constexpr double kDouble = 1e-6, kFloat = 1e-2, kHalf = 0.1;
  return type == at::kDouble ? kDouble : type == at::kFloat ? kFloat : kHalf;
}

// Where element number `i` lies, in the order of the indices.
int64_t offset_of(const at::Tensor& tensor, int64_t i) {
  int64_t offset = 0;
  for (auto d = tensor.dim(); d-- > 0;) {
    offset += i % tensor.size(d) * tensor.stride(d);
    i /= tensor.size(d);
  }
  return offset;
}

bool is_floating(at::ScalarType type) {
  return type == at::kDouble || type == at::kFloat || type == at::kHalf ||
         type == at::kBFloat16;
}

}  // namespace

Sample::Sample(const at::Tensor& tensor) {
  if (!tensor.device().is_cpu() || tensor.layout() != at::kStrided ||
      tensor.numel() == 0 || !is_floating(tensor.scalar_type())) {
    return;
  }
  taken_ = true;
  rounding_ = rounding_of(tensor.scalar_type());
  // Most are contiguous, and divisions are slow.
  const bool contiguous = tensor.is_contiguous();
  const auto last = tensor.numel() - 1;
  constexpr auto kSteps = static_cast<int64_t>(kElements - 1);
  const auto whole = last / kSteps, rest = last % kSteps;
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kHalf, at::kBFloat16, tensor.scalar_type(), "sample", [&] {
        const auto* data = static_cast<const scalar_t*>(tensor.data_ptr());
        for (int64_t k = 0; k <= kSteps; ++k) {
          // Not last * k, which may be too large for a number.
          const auto i = whole * k + rest * k / kSteps;
          elements_[static_cast<std::size_t>(k)] =
              static_cast<double>(data[contiguous ? i : offset_of(tensor, i)]);
        }
      });
}

bool Sample::is_like(const Sample& other) const {
  if (!taken_ || !other.taken_) {
    return true;
  }
  double largest = 0;
  for (const auto element : elements_) {
    largest = std::max(largest, std::abs(element));
  }
  std::size_t different = 0;
  for (std::size_t k = 0; k < kElements; ++k) {
    const auto a = elements_[k], b = other.elements_[k];
    const bool close = a == b || std::abs(a - b) <= rounding_ * largest ||
                       (std::isnan(a) && std::isnan(b));
    different += close ? 0 : 1;
  }
  return different <= kMayDiffer;
}

}  // namespace detail
}  // namespace torchrev
