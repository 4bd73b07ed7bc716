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

  // Lets the current stream wait until `tensor` is written, and keeps its
  // memory until that stream is done with it.
  void receive(const at::Tensor& tensor) const;

 private:
  struct Written {
    c10::Stream on;
    c10::Event event;
  };
  std::shared_ptr<Written> written_;
};

}  // namespace detail
}  // namespace torchrev
