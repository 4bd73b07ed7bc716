#include "in_place.h"

#include <ATen/ExpandUtils.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/sub.h>

namespace torchrev {
namespace detail {

namespace {

bool can_hold(const Tensor& value, const Tensor& x, at::IntArrayRef strides) {
  return value.scalar_type() == x.scalar_type() && is_reusable(value, strides);
}

}  // namespace

uint32_t version_of(const Tensor& tensor) {
  return tensor.is_inference() ? 0 : tensor._version();
}

std::vector<int64_t> layout_of(const Tensor& x) {
  return at::infer_dense_strides(x.sizes(), x.strides());
}

bool is_owned(const Tensor& tensor) {
  return tensor.use_count() == 1 && tensor.storage().use_count() == 1 &&
         tensor.storage().nbytes() == tensor.nbytes() &&
         tensor.storage().resizable();
}

bool is_reusable(const Tensor& x, at::IntArrayRef strides) {
  return is_owned(x) && x.strides() == strides;
}

Tensor sum(const Tensor& x, Tensor value, at::IntArrayRef strides) {
  if (can_hold(value, x, strides)) {
    return value.add_(x);
  }
  auto out = at::empty_strided(x.sizes(), strides, x.options());
  return at::add_out(out, x, value);
}

Tensor difference(Tensor x, Tensor value, at::IntArrayRef strides) {
  if (is_reusable(x, strides)) {
    return x.sub_(value);
  }
  if (can_hold(value, x, strides)) {
    return at::sub_out(value, x, value);
  }
  auto out = at::empty_strided(x.sizes(), strides, x.options());
  return at::sub_out(out, x, value);
}

Tensor accumulate(Tensor sum, const Tensor& gradient) {
  const bool dense =
      sum.layout() == at::kStrided && gradient.layout() == at::kStrided;
  return dense && is_owned(sum) ? sum.add_(gradient) : sum + gradient;
}

}  // namespace detail
}  // namespace torchrev
