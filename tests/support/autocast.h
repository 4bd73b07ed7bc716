#pragma once

#include <ATen/autocast_mode.h>
#include <torch/version.h>

/// CPU autocast in every release of LibTorch: before 2.4 each device type has
/// functions of its own, which later releases deprecate.

namespace torchrev {
namespace test {

#if TORCH_VERSION_MAJOR > 2 || \
    (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
inline bool is_autocast_enabled() {
  return at::autocast::is_autocast_enabled(at::kCPU);
}
inline void set_autocast_enabled(bool enabled) {
  at::autocast::set_autocast_enabled(at::kCPU, enabled);
}
inline void set_autocast_dtype(at::ScalarType dtype) {
  at::autocast::set_autocast_dtype(at::kCPU, dtype);
}
#else
inline bool is_autocast_enabled() {
  return at::autocast::is_cpu_enabled();
}
inline void set_autocast_enabled(bool enabled) {
  at::autocast::set_cpu_enabled(enabled);
}
inline void set_autocast_dtype(at::ScalarType dtype) {
  at::autocast::set_autocast_cpu_dtype(dtype);
}
#endif

/// CPU autocast in bfloat16 for as long as it lives, if `on`.
class Autocast {
 public:
  explicit Autocast(bool on = true) : on_(on) {
    if (on_) {
      at::autocast::increment_nesting();
      set_autocast_enabled(true);
      set_autocast_dtype(at::kBFloat16);
    }
  }
  ~Autocast() {
    if (on_) {
      set_autocast_enabled(false);
      if (at::autocast::decrement_nesting() == 0) {
        at::autocast::clear_cache();
      }
    }
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool on_;
};

}  // namespace test
}  // namespace torchrev
