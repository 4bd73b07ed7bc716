#include "remember.h"

#include <torchrev/remember.h>

#include <utility>

#include "check.h"
#include "in_place.h"

namespace torchrev {

namespace {

constexpr auto kEntry = "remember";

thread_local detail::RememberScope* current_scope = nullptr;

void check_decision(const std::string& name, const Tensor& tensor) {
  const bool discrete =
      tensor.defined() &&
      at::isIntegralType(tensor.scalar_type(), /*includeBool=*/true);
  TORCH_CHECK_TYPE(
      discrete,
      "torchrev::",
      kEntry,
      ": expected `",
      name,
      "` to be of an integer type or bool, but got ",
      tensor.defined() ? c10::str(tensor.scalar_type()) : "an undefined tensor",
      ". What depends continuously on x is recomputed from it.");
}

std::string described(const std::string& name, const Tensor& tensor) {
  return c10::str(
      '`',
      name,
      "` of shape ",
      tensor.sizes(),
      ", dtype ",
      tensor.scalar_type(),
      " on ",
      tensor.device());
}

bool is_same_call(
    const detail::Decision& kept,
    const std::string& name,
    const Tensor& tensor) {
  return kept.name == name && kept.value.sizes() == tensor.sizes() &&
         kept.value.scalar_type() == tensor.scalar_type() &&
         kept.value.device() == tensor.device();
}

}  // namespace

Tensor remember(const std::string& name, const Tensor& tensor) {
  check_decision(name, tensor);
  return current_scope == nullptr ? tensor
                                  : current_scope->resolve(name, tensor);
}

namespace detail {

RememberScope::RememberScope() : outer_(std::exchange(current_scope, this)) {}

RememberScope::~RememberScope() {
  current_scope = outer_;
}

Tensor RecordScope::resolve(const std::string& name, const Tensor& tensor) {
  auto value = outer_ == nullptr ? tensor : outer_->resolve(name, tensor);
  decisions_.push_back({name, value, version_of(value)});
  return value;
}

Tensor ReplayScope::resolve(const std::string& name, const Tensor& tensor) {
  const auto* kept = next_ < decisions_.size() ? &decisions_[next_++] : nullptr;
  TORCH_CHECK_VALUE(
      kept != nullptr && is_same_call(*kept, name, tensor),
      "torchrev::",
      kEntry,
      ": expected the recompute of a branch to remember ",
      kept == nullptr ? "nothing more" : described(kept->name, kept->value),
      " as its forward did, but got ",
      described(name, tensor),
      ". A branch remembers in the same order whenever it runs.");
  TORCH_CHECK_VALUE(
      version_of(kept->value) == kept->version,
      "torchrev::",
      kEntry,
      ": expected `",
      name,
      "` to be as forward left it, but got a tensor of shape ",
      tensor.sizes(),
      " that was modified in place. Modify a clone.");
  return kept->value;
}

void ReplayScope::check_complete() const {
  TORCH_CHECK_VALUE(
      next_ == decisions_.size(),
      "torchrev::",
      kEntry,
      ": expected the recompute of a branch to remember ",
      decisions_.size(),
      " times as its forward did, but got ",
      next_,
      ". A branch remembers in the same order whenever it runs.");
}

}  // namespace detail
}  // namespace torchrev
