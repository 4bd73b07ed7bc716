#include "tensors.h"

#include <ATen/ExpandUtils.h>

namespace torchrev {
namespace detail {

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

bool is_stream_dtype(at::ScalarType dtype) {
  return dtype == at::kDouble || dtype == at::kFloat || dtype == at::kHalf ||
         dtype == at::kBFloat16;
}

int64_t mantissa_bits(at::ScalarType dtype) {
  return dtype == at::kDouble  ? 52
         : dtype == at::kFloat ? 23
         : dtype == at::kHalf  ? 10
                               : 7;
}

}  // namespace detail
}  // namespace torchrev
