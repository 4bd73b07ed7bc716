#include "fake_device/boxed_call.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>
#include <cstring>

#include "fake_device/guard.h"
#include "fake_device/hooks.h"
#include "fake_device/memory.h"

namespace torchrev {
namespace test {

namespace {

bool is_fake(const Tensor& tensor) {
  return tensor.defined() && tensor.device().type() == kFake;
}

const c10::DispatchKeySet kAboveKernels =
    c10::autograd_dispatch_keyset_with_ADInplaceOrView |
    c10::autocast_dispatch_keyset;

// Over the same storage.
Tensor view_of(const Tensor& original, const Tensor& like) {
  auto view = at::detail::make_tensor<c10::TensorImpl>(
      c10::TensorImpl::VIEW,
      c10::Storage(original.storage()),
      original.key_set(),
      like.dtype());
  auto* const impl = view.unsafeGetTensorImpl();
  impl->set_sizes_and_strides(like.sizes(), like.strides());
  const auto* const base =
      static_cast<const char*>(original.storage().data_ptr().get());
  const auto* const data = static_cast<const char*>(like.data_ptr());
  impl->set_storage_offset(
      data ? (data - base) / static_cast<int64_t>(like.element_size()) : 0);
  return view;
}

}  // namespace

// Over the whole storage: as_strided counts from its beginning.
Tensor on_cpu(const Tensor& tensor) {
  const auto options = tensor.options().device(at::kCPU).requires_grad(false);
  Tensor alias;
  if (tensor.numel() == 0) {
    alias = at::empty_strided(tensor.sizes(), tensor.strides(), options);
  } else {
    const auto& storage = tensor.storage();
    const auto size = storage.nbytes() / tensor.element_size();
    alias = at::from_blob(
        const_cast<void*>(storage.data_ptr().get()),
        {static_cast<int64_t>(size)},
        options);
    auto* const impl = alias.unsafeGetTensorImpl();
    impl->set_sizes_and_strides(tensor.sizes(), tensor.strides());
    impl->set_storage_offset(tensor.storage_offset());
  }
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
    alias.unsafeGetTensorImpl()->set_wrapped_number(true);
  }
  return alias;
}

void BoxedCall::operator()(torch::jit::Stack& stack) {
  const auto& schema = op_.schema();
  auto arguments = torch::jit::pop(stack, schema.arguments().size());
  for (const auto& value : arguments) {
    find_device(value);
  }
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    stack.push_back(argument(arguments[i], schema.arguments()[i]));
  }
  const c10::impl::ExcludeDispatchKeyGuard at_kernels(kAboveKernels);
  const at::NoGradGuard no_grad;
  if (!is_view()) {
    note_accesses();
  }
  op_.callBoxed(&stack);
  auto results = torch::jit::pop(stack, schema.returns().size());
  for (const auto& value : results) {
    stack.push_back(result(value));
  }
}

void BoxedCall::find_device(const c10::IValue& value) {
  if (device_) {
    return;
  }
  if (value.isTensor() && is_fake(value.toTensor())) {
    device_ = value.toTensor().device();
  } else if (value.isDevice() && value.toDevice().type() == kFake) {
    device_ = resolved(value.toDevice());
  } else if (value.isList()) {
    for (const auto& item : value.toListRef()) {
      find_device(item);
    }
  }
}

c10::IValue BoxedCall::argument(
    const c10::IValue& value, const c10::Argument& declared) {
  const bool written =
      declared.alias_info() && declared.alias_info()->isWrite();
  if (value.isTensor()) {
    return alias(value.toTensor(), written);
  }
  if (value.isDevice() && value.toDevice().type() == kFake) {
    return c10::Device(at::kCPU);
  }
  if (value.isList()) {
    auto list = value.toList().copy();
    for (std::size_t i = 0; i < list.size(); ++i) {
      const c10::IValue item = list.get(i);
      if (item.isTensor()) {
        list.set(i, alias(item.toTensor(), written));
      }
    }
    return list;
  }
  if (value.isNone() && device_ &&
      declared.type()->isSubtypeOf(
          *c10::OptionalType::create(c10::GeneratorType::get()))) {
    return fake_generator(device_->index());
  }
  return value;
}

Tensor BoxedCall::alias(const Tensor& tensor, bool written) {
  if (!is_fake(tensor)) {
    return tensor;
  }
  for (auto& known : aliases_) {
    if (known.original.is_same(tensor)) {
      known.written = known.written || written;
      return known.cpu;
    }
  }
  aliases_.push_back({tensor, on_cpu(tensor), written});
  return aliases_.back().cpu;
}

// A result that shares memory with an argument, which is not written.
bool BoxedCall::is_view() const {
  const auto& returns = op_.schema().returns();
  return std::any_of(returns.begin(), returns.end(), [](const auto& declared) {
    return declared.alias_info() && !declared.alias_info()->isWrite();
  });
}

void BoxedCall::note_accesses() {
  if (!device_) {
    return;
  }
  const auto lane = current_lane(*device_);
  work_ = Timeline::instance().enqueue(lane);
  for (const auto& item : aliases_) {
    if (item.original.numel() == 0) {
      continue;
    }
    if (item.written) {
      note_write(item.original);
    } else {
      Memory::instance().note_read(
          item.original.storage().data_ptr().get(),
          *work_,
          op_.schema().name());
    }
  }
}

void BoxedCall::note_write(const Tensor& tensor) {
  if (work_) {
    Memory::instance().note_write(
        tensor.storage().data_ptr().get(), *work_, op_.schema().name());
  }
}

c10::IValue BoxedCall::result(const c10::IValue& value) {
  if (value.isTensor()) {
    return value.toTensor().defined() ? result_tensor(value.toTensor()) : value;
  }
  if (value.isTensorList()) {
    std::vector<Tensor> tensors;
    for (const auto& tensor : value.toTensorVector()) {
      tensors.push_back(tensor.defined() ? result_tensor(tensor) : tensor);
    }
    return tensors;
  }
  // The host is told a number: it waits for it.
  if (work_ && !value.isNone()) {
    Timeline::instance().wait(work_->lane);
  }
  return value;
}

Tensor BoxedCall::result_tensor(const Tensor& value) {
  for (const auto& item : aliases_) {
    if (item.cpu.is_same(value)) {
      take_size(item);
      return item.original;
    }
  }
  if (is_view()) {
    for (const auto& item : aliases_) {
      if (item.cpu.is_alias_of(value) || item.cpu.numel() == 0) {
        return view_of(item.original, value);
      }
    }
  }
  if (!device_ || !value.device().is_cpu()) {
    return value;
  }
  const auto dense =
      value.is_non_overlapping_and_dense() ? value : value.contiguous();
  auto fake = at::empty_strided(
      dense.sizes(), dense.strides(), dense.options().device(*device_));
  if (dense.numel() > 0) {
    std::memcpy(fake.data_ptr(), dense.data_ptr(), dense.nbytes());
    note_write(fake);
  }
  return fake;
}

void BoxedCall::take_size(const Alias& alias) {
  const auto& cpu = alias.cpu;
  if (alias.original.sizes() == cpu.sizes() || cpu.numel() == 0) {
    return;
  }
  const auto fresh = at::empty_strided(
      cpu.sizes(),
      cpu.strides(),
      cpu.options().device(alias.original.device()));
  std::memcpy(fresh.data_ptr(), cpu.data_ptr(), cpu.nbytes());
  auto* const impl = alias.original.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(fresh.storage());
  impl->set_sizes_and_strides(fresh.sizes(), fresh.strides());
}

}  // namespace test
}  // namespace torchrev
