#pragma once

// Differences between LibTorch releases, and nothing else.

#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/edge.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/grad_mode.h>
#include <torch/version.h>

#include <functional>
#include <memory>
#include <thread>
#include <utility>

#define TORCHREV_TORCH_AT_LEAST(major, minor) \
  (TORCH_VERSION_MAJOR > (major) ||           \
   (TORCH_VERSION_MAJOR == (major) && TORCH_VERSION_MINOR >= (minor)))

// Not all releases have TORCH_CHECK_NOT_IMPLEMENTED.
#define TORCHREV_CHECK_IMPLEMENTED(...) \
  TORCH_CHECK_WITH(NotImplementedError, __VA_ARGS__)

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

// A number that tells the running backward pass from others that are alive.
inline int64_t current_pass_id() {
#if TORCHREV_TORCH_AT_LEAST(2, 0)
  return torch::autograd::get_current_graph_task_id();
#else
  return static_cast<int64_t>(
      std::hash<std::thread::id>()(std::this_thread::get_id()));
#endif
}

// Whether the running backward pass retains the graph.
inline bool current_pass_keeps_graph() {
#if TORCHREV_TORCH_AT_LEAST(2, 0)
  return torch::autograd::get_current_graph_task_keep_graph();
#else
  return true;
#endif
}

// Whether autocast knows the device type, besides the CPU and CUDA.
inline bool has_autocast(c10::DeviceType type) {
#if TORCHREV_TORCH_AT_LEAST(2, 4)
  return at::autocast::is_autocast_available(type);
#else
  return false;
#endif
}

inline bool is_autocast_enabled(c10::DeviceType type) {
#if TORCHREV_TORCH_AT_LEAST(2, 4)
  return at::autocast::is_autocast_enabled(type);
#else
  return type == at::kCPU ? at::autocast::is_cpu_enabled()
                          : at::autocast::is_enabled();
#endif
}

inline void set_autocast_enabled(c10::DeviceType type, bool enabled) {
#if TORCHREV_TORCH_AT_LEAST(2, 4)
  at::autocast::set_autocast_enabled(type, enabled);
#else
  type == at::kCPU ? at::autocast::set_cpu_enabled(enabled)
                   : at::autocast::set_enabled(enabled);
#endif
}

inline at::ScalarType autocast_dtype(c10::DeviceType type) {
#if TORCHREV_TORCH_AT_LEAST(2, 4)
  return at::autocast::get_autocast_dtype(type);
#else
  return type == at::kCPU ? at::autocast::get_autocast_cpu_dtype()
                          : at::autocast::get_autocast_gpu_dtype();
#endif
}

inline void set_autocast_dtype(c10::DeviceType type, at::ScalarType dtype) {
#if TORCHREV_TORCH_AT_LEAST(2, 4)
  at::autocast::set_autocast_dtype(type, dtype);
#else
  type == at::kCPU ? at::autocast::set_autocast_cpu_dtype(dtype)
                   : at::autocast::set_autocast_gpu_dtype(dtype);
#endif
}

}  // namespace compat
}  // namespace detail
}  // namespace torchrev
