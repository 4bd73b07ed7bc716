#include "stack/saved_end.h"

#include <ATen/ops/empty_strided.h>

#include "stack/segment.h"

namespace torchrev {
namespace detail {

void SavedEnd::save(
    const std::vector<Tensor>& y, const torch::optional<int64_t>& merge_dim) {
  merge_dim_ = merge_dim;
  known_ = true;
  written_ = Handover(y[0]);
  saved_.reserve(y.size());
  for (const auto& tensor : y) {
    // An alias has no grad_fn: the graph, whose nodes own the segment, would be
    // a cycle.
    saved_.emplace_back(tensor.detach(), /*is_output=*/false);
  }
}

Tensor SavedEnd::unpacked(std::size_t i) const {
  auto tensor = saved_[i].unpack().detach();
  written_.receive(tensor);
  return tensor;
}

// A half of a merged tensor has other strides than the stream that was copied
// into it: views of it can fail in a recompute, and dropout, which draws in the
// order of memory, gives another mask. The copies take the place of the merged
// tensor, which can go.
StreamPair SavedEnd::streams(const Segment& segment) const {
  if (!merge_dim_) {
    return {unpacked(0), unpacked(1)};
  }
  StreamPair pair;
  const auto views = halves_of(unpacked(0), *merge_dim_);
  for (std::size_t i = 0; i < 2; ++i) {
    if (views[i].strides() == at::IntArrayRef(segment.strides[i])) {
      pair[i] = views[i];
    } else {
      pair[i] = at::empty_strided(
          views[i].sizes(), segment.strides[i], views[i].options());
      pair[i].copy_(views[i]);
    }
  }
  return pair;
}

void SavedEnd::free() {
  known_ = false;
  for (auto& tensor : saved_) {
    tensor.reset_data();
  }
}

std::vector<Tensor> halves_of(const Tensor& y, int64_t dim) {
  const auto size = y.size(dim) / 2;
  return {y.narrow(dim, 0, size), y.narrow(dim, size, size)};
}

}  // namespace detail
}  // namespace torchrev
