#pragma once

#include <c10/core/DeviceType.h>
#include <c10/core/ScalarType.h>

#include <vector>

namespace torchrev {
namespace detail {

// Enabled flag and dtype of autocast for each device type, and its cache flag.
class AutocastState {
 public:
  // For every device type that has one.
  static AutocastState capture();
  void restore() const;
  bool any_enabled() const;
  // The same without autocast's cache of cast weights, which would hand casts
  // made without grad mode to a recompute that needs their gradient.
  AutocastState without_cache() const;

 private:
  struct PerType {
    c10::DeviceType type;
    bool enabled;
    at::ScalarType dtype;
  };
  std::vector<PerType> types_;
  bool cache_ = false;
};

}  // namespace detail
}  // namespace torchrev
