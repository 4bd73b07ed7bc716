#include "recompute/chunks.h"

#include <algorithm>

namespace torchrev {
namespace detail {

Chunks::Chunks(int64_t count, int64_t dim, const Tensor& x)
    : count_(1), dim_(dim), size_(1) {
  if (count > 1) {
    size_ = x.size(dim);
    count_ = std::max<int64_t>(1, std::min(count, size_));
  }
}

Chunks::Chunks(const ReversibleOptions& options, Role role, const Tensor& x)
    : Chunks(
          role == Role::kF ? options.chunks_f() : options.chunks_g(),
          options.chunk_dim(),
          x) {}

Tensor Chunks::of(const Tensor& x, std::size_t i) const {
  if (count_ == 1 || !x.defined()) {
    return x;
  }
  const auto index = static_cast<int64_t>(i);
  const auto start = index * size_ / count_;
  const auto end = (index + 1) * size_ / count_;
  return x.narrow(dim_, start, end - start);
}

}  // namespace detail
}  // namespace torchrev
