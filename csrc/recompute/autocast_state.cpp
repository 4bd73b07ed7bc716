#include "recompute/autocast_state.h"

#include <algorithm>

#include "compat.h"
#include "device/capabilities.h"

namespace torchrev {
namespace detail {

AutocastState AutocastState::capture() {
  AutocastState state;
  for (const auto type : autocast_types()) {
    state.types_.push_back(
        {type,
         compat::is_autocast_enabled(type),
         compat::autocast_dtype(type)});
  }
  state.cache_ = at::autocast::is_autocast_cache_enabled();
  return state;
}

void AutocastState::restore() const {
  for (const auto& item : types_) {
    compat::set_autocast_enabled(item.type, item.enabled);
    compat::set_autocast_dtype(item.type, item.dtype);
  }
  at::autocast::set_autocast_cache_enabled(cache_);
}

bool AutocastState::any_enabled() const {
  return std::any_of(types_.begin(), types_.end(), [](const PerType& item) {
    return item.enabled;
  });
}

AutocastState AutocastState::without_cache() const {
  AutocastState state = *this;
  state.cache_ = false;
  return state;
}

}  // namespace detail
}  // namespace torchrev
