#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <memory>

namespace torchrev {
namespace detail {

// Orders what one stream of an accelerator writes before what another reads,
// without waiting on the host. Does nothing on the CPU.
//
// A node's backward runs on the stream of its forward, so that two steps of one
// call run on different streams if forward did.
class Handover {
 public:
  Handover() = default;

  // Notes the current stream of the device of `tensor`, which has just been
  // written there.
  explicit Handover(const at::Tensor& tensor);
  // The same of all work on `device`.
  explicit Handover(const c10::Device& device);

  // Lets the current stream wait until the tensors, of one device, are written,
  // and keeps their memory until that stream is done with it.
  void receive(at::TensorList tensors) const;
  // Lets the current stream of the device wait.
  void wait() const;

  bool is_of_stream_of(const Handover& other) const {
    return written_ && other.written_ && written_->on == other.written_->on;
  }

 private:
  struct Written {
    c10::Stream on;
    c10::Event event;
  };
  std::shared_ptr<Written> written_;
};

// Keeps the memory of `tensor` until the current stream of its device is done
// with it, whichever stream it was made on.
void keep_for_current_stream(const at::Tensor& tensor);

}  // namespace detail
}  // namespace torchrev
