#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <torchrev/options.h>
#include <torchrev/step_id.h>

#include <vector>

namespace torchrev {
namespace detail {

using at::Tensor;

// How a stream is cut for a branch that acts position by position: into parts
// along one dimension whose sizes differ by one at most.
class Chunks {
 public:
  // At most one chunk a position.
  Chunks(int64_t count, int64_t dim, const Tensor& x);
  // As `options` say for the branch of `role`, which gets `x`.
  Chunks(const ReversibleOptions& options, Role role, const Tensor& x);

  std::size_t count() const {
    return static_cast<std::size_t>(count_);
  }
  // Part `i` of `x`: a view, or `x` itself if there is one chunk.
  Tensor of(const Tensor& x, std::size_t i) const;

  // fn(part of x, its number) for each part, side by side again.
  template <typename Fn>
  Tensor map(const Tensor& x, const Fn& fn) const {
    if (count_ == 1) {
      return fn(x, std::size_t(0));
    }
    std::vector<Tensor> values;
    for (std::size_t i = 0; i < count(); ++i) {
      values.push_back(fn(of(x, i), i));
    }
    return at::cat(values, dim_);
  }

 private:
  int64_t count_;
  int64_t dim_;
  int64_t size_;
};

}  // namespace detail
}  // namespace torchrev
