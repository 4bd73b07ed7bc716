#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "recompute/branch_state.h"

namespace torchrev {
namespace detail {

// Copies that stand for the buffers of a branch while it is recomputed: what it
// reads is what it read in forward, and what it writes is seen by no one else.
class PrivateBuffers {
 public:
  // Of buffers, with what they held in forward.
  explicit PrivateBuffers(const BufferCopies& recorded);

  bool empty() const {
    return items_.empty();
  }
  // Whether one is of another size now.
  bool are_resized() const;

  // Lets the buffers show the copies, of which code may ask the size without an
  // operator: everybody sees it. Returns them with what they were; hide() takes
  // that.
  BufferCopies show();
  static void hide(const BufferCopies& buffers);
  // Operators have run on the copies: shown buffers take their size.
  void update_shown() const;

  // What stands for `tensor`, a buffer or another tensor over its memory;
  // undefined if it is neither.
  Tensor stand_in(const Tensor& tensor) const;
  // The buffer that `tensor` stands for; undefined if there is none.
  Tensor original(const Tensor& tensor) const;

 private:
  struct Item {
    Tensor buffer;
    Tensor copy;
  };
  std::vector<Item> items_;
  bool shown_ = false;
};

// Whether two tensors lie in the same memory.
bool share_memory(const Tensor& a, const Tensor& b);

// Notes which of the buffers of a branch its operators take. A buffer that
// changes and that no operator took is written through a pointer, or by another
// thread.
class BufferWatch {
 public:
  explicit BufferWatch(std::vector<Tensor> buffers)
      : buffers_(std::move(buffers)),
        taken_(buffers_.size(), false),
        written_(buffers_.size(), false) {}

  // `writes`: the operator writes to `tensor`.
  void note(const Tensor& tensor, bool writes);
  const std::vector<bool>& taken() const {
    return taken_;
  }
  const std::vector<bool>& written() const {
    return written_;
  }

 private:
  std::vector<Tensor> buffers_;
  std::vector<bool> taken_;
  std::vector<bool> written_;
};

}  // namespace detail
}  // namespace torchrev
