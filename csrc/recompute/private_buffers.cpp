#include "recompute/private_buffers.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "device/handover.h"

namespace torchrev {
namespace detail {

namespace {

// A tensor like `shape` over memory laid out as its is.
Tensor over(const Tensor& memory, const Tensor& shape) {
  return at::empty({0}, shape.options())
      .set_(
          memory.storage(),
          shape.storage_offset(),
          shape.sizes(),
          shape.strides());
}

// A copy of all the memory that `buffer` is a part of, so that other tensors
// over it have their place in the copy, too.
Tensor copy_of_memory(const Tensor& buffer) {
  const auto bytes = static_cast<int64_t>(buffer.storage().nbytes());
  const auto flat = at::empty({0}, buffer.options().dtype(at::kByte))
                        .set_(buffer.storage(), 0, {bytes}, {1});
  return over(flat.clone(), buffer);
}

Tensor copy_with(const Tensor& buffer, const Tensor& value) {
  if (buffer.sizes() != value.sizes() || !buffer.has_storage() ||
      buffer.nbytes() == buffer.storage().nbytes()) {
    return value.clone();
  }
  auto copy = copy_of_memory(buffer);
  copy.copy_(value);
  return copy;
}

}  // namespace

bool share_memory(const Tensor& a, const Tensor& b) {
  return a.is_same(b) || (a.has_storage() && b.has_storage() &&
                          a.storage().unsafeGetStorageImpl() ==
                              b.storage().unsafeGetStorageImpl());
}

PrivateBuffers::PrivateBuffers(const BufferCopies& recorded) {
  const at::NoGradGuard no_grad;
  items_.reserve(recorded.size());
  for (const auto& item : recorded) {
    if (item.buffer.requires_grad()) {
      continue;
    }
    keep_for_current_stream(item.value);
    // Two buffers over one memory are so in the copy.
    const auto other = stand_in(item.buffer);
    if (other.defined()) {
      other.copy_(item.value);
    }
    items_.push_back(
        {item.buffer,
         other.defined() ? other : copy_with(item.buffer, item.value)});
  }
}

bool PrivateBuffers::are_resized() const {
  return std::any_of(items_.begin(), items_.end(), [](const Item& item) {
    return item.buffer.sizes() != item.copy.sizes();
  });
}

BufferCopies PrivateBuffers::show() {
  BufferCopies before;
  before.reserve(items_.size());
  for (const auto& item : items_) {
    before.push_back({item.buffer, item.buffer.variable_data()});
    item.buffer.set_data(item.copy);
  }
  shown_ = true;
  return before;
}

// A buffer may be among them twice: last come, first gone.
void PrivateBuffers::hide(const BufferCopies& buffers) {
  for (auto item = buffers.rbegin(); item != buffers.rend(); ++item) {
    item->buffer.set_data(item->value);
  }
}

void PrivateBuffers::update_shown() const {
  for (const auto& item : items_) {
    if (shown_ && item.buffer.sizes() != item.copy.sizes()) {
      item.buffer.set_data(item.copy);
    }
  }
}

Tensor PrivateBuffers::stand_in(const Tensor& tensor) const {
  for (const auto& item : items_) {
    if (item.buffer.is_same(tensor)) {
      return item.copy;
    }
  }
  for (const auto& item : items_) {
    if (share_memory(item.buffer, tensor)) {
      if (shown_) {
        // It lies in the copy already.
        return Tensor();
      }
      const at::NoGradGuard no_grad;
      return over(item.copy, tensor);
    }
  }
  return Tensor();
}

Tensor PrivateBuffers::original(const Tensor& tensor) const {
  for (const auto& item : items_) {
    if (item.copy.is_same(tensor)) {
      return item.buffer;
    }
  }
  return Tensor();
}

void BufferWatch::note(const Tensor& tensor, bool writes) {
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    if (share_memory(buffers_[i], tensor)) {
      taken_[i] = true;
      written_[i] = written_[i] || writes;
    }
  }
}

}  // namespace detail
}  // namespace torchrev
