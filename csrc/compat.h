#pragma once

// Differences between LibTorch releases, and nothing else.

#include <ATen/Context.h>
#include <ATen/FuncTorchTLS.h>
#include <ATen/autocast_mode.h>
#include <c10/core/Event.h>
#include <c10/core/impl/TorchDispatchModeTLS.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/edge.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/grad_mode.h>
#include <torch/version.h>

#include <cstdint>
#include <memory>
#include <thread>
#include <utility>

#define TORCHREV_TORCH_AT_LEAST(major, minor) \
  (TORCH_VERSION_MAJOR > (major) ||           \
   (TORCH_VERSION_MAJOR == (major) && TORCH_VERSION_MINOR >= (minor)))

namespace torchrev {
namespace detail {
namespace compat {

// std::shared_ptr<Node> in old releases, c10::intrusive_ptr<Node> in new ones.
using NodePtr = decltype(torch::autograd::Edge::function);

template <typename T, typename... Args>
auto make_node(Args&&... args) {
#if TORCHREV_TORCH_AT_LEAST(2, 13)
  return c10::make_intrusive<T>(std::forward<Args>(args)...);
#else
  return std::shared_ptr<T>(
      new T(std::forward<Args>(args)...), torch::autograd::deleteNode);
#endif
}

// A number that tells the running backward pass from others that are alive:
// before 2.0 passes have no number, but each holds its own table at one place.
inline int64_t current_pass_id() {
#if TORCHREV_TORCH_AT_LEAST(2, 0)
  return torch::autograd::get_current_graph_task_id();
#else
  return reinterpret_cast<int64_t>(
      torch::autograd::get_current_graph_task_exec_info());
#endif
}

#if !TORCHREV_TORCH_AT_LEAST(2, 0)
// Before 2.0 a version can only be counted up. An explicit instantiation may
// name a private member, which gives the way to the number itself.
template <auto member>
struct VersionOf {
  friend void set(const c10::VariableVersion& counter, uint32_t version) {
    (counter.*member)->version_ = version;
  }
};
template struct VersionOf<&c10::VariableVersion::version_counter_>;
void set(const c10::VariableVersion& counter, uint32_t version);
#endif

// Sets the version of a tensor whose values are what they were at that version.
inline void set_version(const at::Tensor& tensor, uint32_t version) {
  auto counter = tensor.unsafeGetTensorImpl()->version_counter();
#if TORCHREV_TORCH_AT_LEAST(2, 0)
  counter.set_version(version);
#else
  set(counter, version);
#endif
}

// Lets the host wait until `event` is complete.
inline void wait_for(const c10::Event& event) {
#if TORCHREV_TORCH_AT_LEAST(2, 4)
  event.synchronize();
#else
  while (!event.query()) {
    std::this_thread::yield();
  }
#endif
}

// Whether work on `stream` is captured instead of run, as for a CUDA graph.
// Releases that do not tell say no.
inline bool is_capturing(const c10::Stream& stream) {
#if TORCHREV_TORCH_AT_LEAST(2, 13)
  return c10::impl::VirtualGuardImpl(stream.device_type())
      .isStreamCapturing(stream);
#else
  (void)stream;
  return false;
#endif
}

// A device type that came with a later release is one that no device has.
#if TORCHREV_TORCH_AT_LEAST(2, 1)
constexpr auto kMTIA = c10::DeviceType::MTIA;
#else
constexpr auto kMTIA = c10::DeviceType::COMPILE_TIME_MAX_DEVICE_TYPES;
#endif

// Whether LibTorch gives out default generators of accelerators of `type`.
inline bool gives_generators(c10::DeviceType type) {
#if TORCHREV_TORCH_AT_LEAST(2, 4)
  return type != c10::DeviceType::PrivateUse1 ||
         at::isPrivateUse1HooksRegistered();
#else
  return type == c10::DeviceType::CUDA;
#endif
}

// Whether anything on the accelerator was made yet, without making it. Throws
// if its backend does not say.
inline bool is_in_use(const c10::Device& device) {
#if TORCHREV_TORCH_AT_LEAST(2, 4)
  return at::globalContext()
      .getAcceleratorHooksInterface(device.type())
      .hasPrimaryContext(device.index());
#else
  return device.type() == c10::DeviceType::CUDA &&
         at::detail::getCUDAHooks().hasPrimaryContext(device.index());
#endif
}

// Whether a FakeTensorMode is active: tensors have shapes and no values.
inline bool is_fake_mode() {
#if TORCHREV_TORCH_AT_LEAST(2, 2)
  namespace impl = c10::impl;
  return impl::dispatch_mode_enabled() &&
         impl::TorchDispatchModeTLS::get_mode(impl::TorchDispatchModeKey::FAKE);
#else
  return false;
#endif
}

// Whether operators are traced, as make_fx does it.
inline bool is_tracing() {
#if TORCHREV_TORCH_AT_LEAST(2, 2)
  namespace impl = c10::impl;
  return impl::dispatch_mode_enabled() &&
         impl::TorchDispatchModeTLS::get_mode(
             impl::TorchDispatchModeKey::PROXY);
#else
  return false;
#endif
}

// Whether a transform of torch.func is active that refuses autograd functions
// written in C++. It can be asked by its error only.
inline bool is_in_transform() {
#if TORCHREV_TORCH_AT_LEAST(2, 1)
  const auto& transforms = at::functorch::functorchTLSAccessor();
  if (!transforms) {
    return false;
  }
  try {
    transforms->checkSupportsCppAutogradFunction();
  } catch (const c10::Error&) {
    return true;
  }
#endif
  return false;
}

#if TORCHREV_TORCH_AT_LEAST(2, 4)

using at::autocast::is_autocast_enabled;
using at::autocast::set_autocast_dtype;
using at::autocast::set_autocast_enabled;

// Whether autocast knows the device type.
inline bool has_autocast(c10::DeviceType type) {
  return at::autocast::is_autocast_available(type);
}

inline at::ScalarType autocast_dtype(c10::DeviceType type) {
  return at::autocast::get_autocast_dtype(type);
}

#else

// Before 2.4 every device type has functions of its own.
struct Autocast {
  bool (*is_enabled)();
  void (*set_enabled)(bool);
  at::ScalarType (*dtype)();
  void (*set_dtype)(at::ScalarType);
};

// The functions for a device type that has_autocast.
inline Autocast autocast_of(c10::DeviceType type) {
  namespace autocast = at::autocast;
  switch (type) {
    case c10::DeviceType::CPU:
      return {
          autocast::is_cpu_enabled,
          autocast::set_cpu_enabled,
          autocast::get_autocast_cpu_dtype,
          autocast::set_autocast_cpu_dtype};
    case c10::DeviceType::XPU:
      return {
          autocast::is_xpu_enabled,
          autocast::set_xpu_enabled,
          autocast::get_autocast_xpu_dtype,
          autocast::set_autocast_xpu_dtype};
    default:
      return {
          autocast::is_enabled,
          autocast::set_enabled,
          autocast::get_autocast_gpu_dtype,
          autocast::set_autocast_gpu_dtype};
  }
}

inline bool has_autocast(c10::DeviceType type) {
  return type == c10::DeviceType::CPU || type == c10::DeviceType::CUDA ||
         type == c10::DeviceType::XPU;
}

inline bool is_autocast_enabled(c10::DeviceType type) {
  return autocast_of(type).is_enabled();
}

inline void set_autocast_enabled(c10::DeviceType type, bool enabled) {
  autocast_of(type).set_enabled(enabled);
}

inline at::ScalarType autocast_dtype(c10::DeviceType type) {
  return autocast_of(type).dtype();
}

inline void set_autocast_dtype(c10::DeviceType type, at::ScalarType dtype) {
  autocast_of(type).set_dtype(dtype);
}

#endif

}  // namespace compat
}  // namespace detail
}  // namespace torchrev
