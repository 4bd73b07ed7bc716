#include "call.h"

#include <ATen/ExpandUtils.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/sub.h>

namespace torchrev {
namespace detail {

namespace {

// The strides of a dense tensor that orders its dimensions as `x` does: what
// x + f(x) has, too.
std::vector<int64_t> layout_of(const Tensor& x) {
  return at::infer_dense_strides(x.sizes(), x.strides());
}

// Whether `tensor` is the only handle of a storage of its own size, so that
// its values can be overwritten.
bool is_owned(const Tensor& tensor) {
  return tensor.use_count() == 1 && tensor.storage().use_count() == 1 &&
         tensor.storage().nbytes() == tensor.nbytes() &&
         tensor.storage().resizable();
}

bool can_hold(const Tensor& value, const Tensor& x, at::IntArrayRef strides) {
  return is_owned(value) && value.scalar_type() == x.scalar_type() &&
         value.strides() == strides;
}

}  // namespace

Call::Call(
    const char* entry,
    const ReversibleOptions& options,
    const Tensor& x1,
    const Tensor& x2)
    : entry(entry), options(options), strides({layout_of(x1), layout_of(x2)}) {}

uint32_t version_of(const Tensor& tensor) {
  return tensor.is_inference() ? 0 : tensor._version();
}

Tensor sum(const Tensor& x, Tensor value, at::IntArrayRef strides) {
  if (can_hold(value, x, strides)) {
    return value.add_(x);
  }
  auto out = at::empty_strided(x.sizes(), strides, x.options());
  return at::add_out(out, x, value);
}

Tensor difference(Tensor x, Tensor value, at::IntArrayRef strides) {
  if (can_hold(x, x, strides)) {
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
