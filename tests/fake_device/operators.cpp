#include "fake_device/operators.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <limits>

#include "fake_device/boxed_call.h"
#include "fake_device/guard.h"
#include "fake_device/memory.h"

namespace torchrev {
namespace test {

namespace {

using torch::optional;

void run_boxed(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  BoxedCall call(op);
  call(*stack);
}

const c10::DispatchKeySet kKeys{kFakeKey};

Tensor empty(
    at::IntArrayRef size,
    optional<at::ScalarType> dtype,
    optional<at::Layout> /*layout*/,
    optional<at::Device> device,
    optional<bool> /*pin_memory*/,
    optional<at::MemoryFormat> format) {
  const c10::DeviceGuard guard(resolved(device.value_or(kFake)));
  return at::detail::empty_generic(
      size,
      &fake_allocator(),
      kKeys,
      dtype.value_or(at::get_default_dtype_as_scalartype()),
      format);
}

Tensor empty_strided(
    at::IntArrayRef size,
    at::IntArrayRef stride,
    optional<at::ScalarType> dtype,
    optional<at::Layout> /*layout*/,
    optional<at::Device> device,
    optional<bool> /*pin_memory*/) {
  const c10::DeviceGuard guard(resolved(device.value_or(kFake)));
  return at::detail::empty_strided_generic(
      size,
      stride,
      &fake_allocator(),
      kKeys,
      dtype.value_or(at::get_default_dtype_as_scalartype()));
}

void note(const Tensor& tensor, const Work& work, bool written) {
  auto& memory = Memory::instance();
  const auto* const data = tensor.storage().data_ptr().get();
  written ? memory.note_write(data, work, "aten::copy_")
          : memory.note_read(data, work, "aten::copy_");
}

void to_device(const Tensor& self, const Tensor& src, bool non_blocking) {
  auto& timeline = Timeline::instance();
  const auto work = timeline.enqueue(current_lane(self.device()));
  note(self, work, /*written=*/true);
  on_cpu(self).copy_(src);
  if (!non_blocking) {
    timeline.wait(work.lane);
  }
}

// The host finds what was there in its memory only when the device is done.
void to_host(const Tensor& self, const Tensor& src, bool non_blocking) {
  auto& timeline = Timeline::instance();
  const auto work = timeline.enqueue(current_lane(src.device()));
  note(src, work, /*written=*/false);
  const auto value = on_cpu(src).clone();
  if (!non_blocking) {
    timeline.wait(work.lane);
    self.copy_(value);
    return;
  }
  if (self.is_floating_point()) {
    self.fill_(std::numeric_limits<double>::quiet_NaN());
  }
  timeline.at(work.done, [self, value] {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    self.copy_(value);
  });
}

// On the stream of the source; that of the destination waits before and after.
void across(const Tensor& self, const Tensor& src) {
  auto& timeline = Timeline::instance();
  const auto from = current_lane(src.device());
  const auto to = current_lane(self.device());
  timeline.block(timeline.record(to), from);
  const auto work = timeline.enqueue(from);
  note(src, work, /*written=*/false);
  note(self, work, /*written=*/true);
  on_cpu(self).copy_(on_cpu(src));
  timeline.block(timeline.record(from), to);
}

Tensor& copy(Tensor& self, const Tensor& src, bool non_blocking) {
  if (self.numel() == 0 || self.is_same(src)) {
    return self;
  }
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  if (self.device().is_cpu()) {
    to_host(self, src.expand_as(self), non_blocking);
  } else if (src.device().is_cpu()) {
    to_device(self, src, non_blocking);
  } else {
    across(self, src.expand_as(self));
  }
  return self;
}

void record_stream(Tensor& self, c10::Stream stream) {
  Memory::instance().record_stream(
      self.storage().data_ptr().get(), lane_of(stream));
}

// The CPU's would draw from the CPU's generator.
std::tuple<Tensor, Tensor> native_dropout(
    const Tensor& input, double p, optional<bool> train) {
  if (train.has_value() && !*train) {
    return {input.clone(), at::ones_like(input, at::kBool)};
  }
  const auto mask = at::empty(input.sizes(), input.options().dtype(at::kBool))
                        .bernoulli_(1 - p);
  return {input.mul(mask).mul_(p == 1 ? 0 : 1 / (1 - p)), mask};
}

}  // namespace

// Registrations last as long as the libraries that hold them.
void install_operators() {
  static auto* const fallback = new torch::Library(
      torch::Library::IMPL, "_", kFakeKey, __FILE__, __LINE__);
  fallback->fallback(torch::CppFunction::makeFromBoxedFunction<&run_boxed>());
  static auto* const aten = new torch::Library(
      torch::Library::IMPL, "aten", kFakeKey, __FILE__, __LINE__);
  aten->impl("empty.memory_format", &empty);
  aten->impl("empty_strided", &empty_strided);
  aten->impl("copy_", &copy);
  aten->impl("record_stream", &record_stream);
  aten->impl("native_dropout", &native_dropout);
#if TORCHREV_FAKE_IS_PRIVATE_USE
  // Its autocast casts nothing.
  static auto* const autocast = new torch::Library(
      torch::Library::IMPL,
      "_",
      c10::DispatchKey::AutocastPrivateUse1,
      __FILE__,
      __LINE__);
  autocast->fallback(torch::CppFunction::makeFallthrough());
#endif
}

}  // namespace test
}  // namespace torchrev
