#include "recompute/remember_scope.h"

#include <utility>

#include "check.h"
#include "tensors.h"

namespace torchrev {
namespace detail {

namespace {

constexpr auto kEntry = "remember";
constexpr auto kSameOrder =
    "A branch remembers in the same order whenever it runs.";

thread_local RememberScope* current_scope = nullptr;

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
    const Decision& kept, const std::string& name, const Tensor& tensor) {
  return kept.name == name && kept.value.sizes() == tensor.sizes() &&
         kept.value.scalar_type() == tensor.scalar_type() &&
         kept.value.device() == tensor.device();
}

}  // namespace

RememberScope::RememberScope() : outer_(std::exchange(current_scope, this)) {}

RememberScope::~RememberScope() {
  current_scope = outer_;
}

RememberScope* RememberScope::current() {
  return current_scope;
}

Tensor RecordScope::resolve(const std::string& name, const Tensor& tensor) {
  auto value = outer_ == nullptr ? tensor : outer_->resolve(name, tensor);
  decisions_.push_back({name, value, version_of(value)});
  return value;
}

Tensor ReplayScope::resolve(const std::string& name, const Tensor& tensor) {
  const auto* kept = next_ < decisions_.size() ? &decisions_[next_++] : nullptr;
  TORCHREV_CHECK(
      ValueError,
      kept != nullptr && is_same_call(*kept, name, tensor),
      kEntry,
      c10::str(
          "the recompute of a branch to remember ",
          kept == nullptr ? "nothing more" : described(kept->name, kept->value),
          " as its forward did"),
      described(name, tensor),
      kSameOrder);
  TORCHREV_CHECK(
      ValueError,
      version_of(kept->value) == kept->version,
      kEntry,
      c10::str('`', name, "` to be as forward left it"),
      c10::str(
          "a tensor of shape ", tensor.sizes(), " that was modified in place"),
      "Modify a clone.");
  return kept->value;
}

void ReplayScope::check_complete() const {
  TORCHREV_CHECK(
      ValueError,
      next_ == decisions_.size(),
      kEntry,
      c10::str(
          "the recompute of a branch to remember ",
          decisions_.size(),
          " times as its forward did"),
      std::to_string(next_),
      kSameOrder);
}

}  // namespace detail
}  // namespace torchrev
