#include "recompute/parameter_writes.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>

#include <algorithm>

#include "compat.h"
#include "recompute/branch_state.h"
#include "tensors.h"

namespace torchrev {
namespace detail {

ParameterWrites::ParameterWrites(const std::vector<Tensor>& parameters) {
  for (const auto& parameter : parameters) {
    add(parameter, 0);
  }
}

ParameterWrites::ParameterWrites(const std::vector<ParameterWrite>& writes) {
  for (const auto& write : writes) {
    add(write.parameter, write.times);
  }
  for (const auto& item : items_) {
    if (item.times > 0) {
      compat::set_version(item.parameter, item.version - item.times);
    }
  }
}

// A module that is registered twice lists its parameters twice.
void ParameterWrites::add(const Tensor& parameter, uint32_t times) {
  const bool known =
      std::any_of(items_.begin(), items_.end(), [&](const Item& item) {
        return item.parameter.is_same(parameter);
      });
  if (!known && !parameter.is_inference()) {
    items_.push_back(
        {parameter, copy_of(parameter), version_of(parameter), times});
  }
}

void ParameterWrites::restore() const {
  const at::NoGradGuard no_grad;
  for (const auto& item : items_) {
    const bool as_before = version_of(item.parameter) == item.version;
    if (!as_before || item.times > 0) {
      item.parameter.variable_data().copy_(item.value);
    }
    if (!as_before) {
      compat::set_version(item.parameter, item.version);
    }
  }
}

std::vector<ParameterWrite> ParameterWrites::since() const {
  std::vector<ParameterWrite> writes;
  for (const auto& item : items_) {
    writes.push_back(
        {item.parameter, version_of(item.parameter) - item.version});
  }
  return writes;
}

void ParameterWrites::forgive_unchanged() const {
  for (const auto& item : items_) {
    if (version_of(item.parameter) != item.version &&
        at::equal(item.parameter, item.value)) {
      compat::set_version(item.parameter, item.version);
    }
  }
}

}  // namespace detail
}  // namespace torchrev
