#include "recompute/parameter_writes.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>

#include "compat.h"
#include "recompute/branch_state.h"
#include "tensors.h"

namespace torchrev {
namespace detail {

ParameterWrites::ParameterWrites(const std::vector<Tensor>& parameters) {
  for (const auto& parameter : parameters) {
    if (!parameter.is_inference()) {
      items_.push_back({parameter, copy_of(parameter), version_of(parameter)});
    }
  }
}

void ParameterWrites::restore() const {
  const at::NoGradGuard no_grad;
  for (const auto& item : items_) {
    if (version_of(item.parameter) != item.version) {
      item.parameter.variable_data().copy_(item.value);
      compat::set_version(item.parameter, item.version);
    }
  }
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
