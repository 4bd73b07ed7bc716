#include "fake_device/hopping.h"

#include <c10/core/Event.h>

namespace torchrev {
namespace test {

namespace {

// With two of them, the engine orders a step after the next one by accident:
// the gradients of parameters arrive on the stream that was current before a
// hop.
constexpr std::size_t kStreams = 3;

// Of the thread that runs forward: a recompute does not hop.
thread_local Hopping* current_hopping = nullptr;

struct HoppingModule : torch::nn::Module {
  explicit HoppingModule(Branch branch) : branch(std::move(branch)) {
    register_module("branch", this->branch.module());
  }
  Tensor forward(const Tensor& x) {
    Hopping::hop();
    return branch(x);
  }
  Branch branch;
};

}  // namespace

Hopping::Hopping(const c10::Device& device)
    : guard_(device.type()), before_(guard_.getStream(device)) {
  for (std::size_t i = 0; i < kStreams; ++i) {
    streams_.push_back(guard_.getStreamFromGlobalPool(device));
  }
  current_hopping = this;
}

Hopping::~Hopping() {
  go_to(before_);
  current_hopping = nullptr;
}

void Hopping::hop() {
  if (current_hopping) {
    auto& hopping = *current_hopping;
    hopping.go_to(hopping.streams_[hopping.next_++ % kStreams]);
  }
}

void Hopping::go_to(const c10::Stream& stream) {
  c10::Event reached(stream.device_type());
  reached.record(guard_.getStream(before_.device()));
  reached.block(stream);
  guard_.exchangeStream(stream);
}

Branch hopping(const Branch& branch) {
  return std::make_shared<HoppingModule>(branch);
}

Blocks hopping(const Blocks& blocks) {
  Blocks hops;
  for (const auto& block : blocks) {
    hops.push_back({hopping(block.f), hopping(block.g)});
  }
  return hops;
}

Stack on_several_streams(const Stack& stack, const c10::Device& device) {
  return [stack, device](const Inputs& inputs) {
    const Hopping hopping(device);
    return stack(inputs);
  };
}

}  // namespace test
}  // namespace torchrev
