#pragma once

#include <torch/csrc/autograd/saved_variable.h>

#include <vector>

#include "device/handover.h"
#include "streams/stream_pair.h"

namespace torchrev {
namespace detail {

struct Segment;

// The streams after the last step of a segment, all that it keeps: as two
// tensors, or as the one that they were merged into.
//
// They are saved variables, as those of LibTorch's nodes: hooks for saved
// tensors see them, and a write to an output before backward is an error. They
// belong to the segment, since a pass may start at an inner step when the node
// of the end is gone; see NOTE [Inner passes].
class SavedEnd {
 public:
  // {y1, y2}, or the one tensor that has them side by side along `merge_dim`.
  void save(
      const std::vector<Tensor>& y, const torch::optional<int64_t>& merge_dim);

  // Whether they were saved, and no pass has freed them.
  bool known() const {
    return known_;
  }

  // As the steps of `segment` saw them. Throws what LibTorch throws if they
  // were freed or written to.
  StreamPair streams(const Segment& segment) const;

  // Of a pass that frees the graph.
  void free();

 private:
  Tensor unpacked(std::size_t i) const;

  std::vector<torch::autograd::SavedVariable> saved_;
  // Where they were written: a pass that starts at an inner step may read them
  // on another stream than the node of the end.
  Handover written_;
  torch::optional<int64_t> merge_dim_;
  bool known_ = false;
};

// {y1, y2} of the tensor that has them side by side; views.
std::vector<Tensor> halves_of(const Tensor& y, int64_t dim);

}  // namespace detail
}  // namespace torchrev
