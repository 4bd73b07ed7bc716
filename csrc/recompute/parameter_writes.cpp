#include "recompute/parameter_writes.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "compat.h"
#include "recompute/branch_state.h"
#include "tensors.h"

namespace torchrev {
namespace detail {

namespace {

// The versions that the recomputes of this thread will give back.
thread_local std::vector<std::pair<const at::TensorImpl*, uint32_t>> given_back;

// Versions wrap around, so it is their difference that tells which is larger.
uint32_t at_least(const Tensor& parameter, uint32_t version) {
  for (const auto& item : given_back) {
    if (item.first == parameter.unsafeGetTensorImpl() &&
        static_cast<int32_t>(item.second - version) > 0) {
      version = item.second;
    }
  }
  return version;
}

void forget(const Tensor& parameter, uint32_t version) {
  const auto item = std::find(
      given_back.begin(),
      given_back.end(),
      std::pair<const at::TensorImpl*, uint32_t>(
          parameter.unsafeGetTensorImpl(), version));
  if (item != given_back.end()) {
    given_back.erase(item);
  }
}

}  // namespace

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
    given_back.emplace_back(item.parameter.unsafeGetTensorImpl(), item.version);
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
    forget(item.parameter, item.version);
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
      compat::set_version(
          item.parameter, at_least(item.parameter, item.version));
    }
  }
}

}  // namespace detail
}  // namespace torchrev
