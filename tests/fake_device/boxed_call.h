#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/stack.h>

#include <utility>
#include <vector>

#include "fake_device/releases.h"
#include "fake_device/timeline.h"

namespace torchrev {
namespace test {

using at::Tensor;

/// A tensor of the CPU over the memory of `tensor`.
Tensor on_cpu(const Tensor& tensor);

/// One operator that is called with tensors of the fake device.
class BoxedCall {
 public:
  explicit BoxedCall(const c10::OperatorHandle& op) : op_(op) {}

  /// Takes the arguments off `stack` and leaves the results there.
  void operator()(torch::jit::Stack& stack);

 private:
  // A tensor of the fake device and its alias.
  struct Alias {
    Tensor original;
    Tensor cpu;
    bool written;
  };

  c10::IValue argument(const c10::IValue& value, const c10::Argument& declared);
  Tensor alias(const Tensor& tensor, bool written);
  void find_device(const c10::IValue& value);
  // A result of the CPU's kernel, as a tensor of the fake device.
  c10::IValue result(const c10::IValue& value);
  Tensor result_tensor(const Tensor& value);
  bool is_view() const;
  void note_accesses();
  void note_write(const Tensor& tensor);
  // Lets a tensor that an operator has given another size have it.
  static void take_size(const Alias& alias);

  const c10::OperatorHandle& op_;
  torch::optional<c10::Device> device_;
  std::vector<Alias> aliases_;
  torch::optional<Work> work_;
};

}  // namespace test
}  // namespace torchrev
