#include <torchrev/remember.h>

#include "check.h"
#include "recompute/remember_scope.h"

namespace torchrev {

Tensor remember(const std::string& name, const Tensor& tensor) {
  const bool discrete =
      tensor.defined() &&
      at::isIntegralType(tensor.scalar_type(), /*includeBool=*/true);
  TORCHREV_CHECK(
      TypeError,
      discrete,
      "remember",
      c10::str('`', name, "` to be of an integer type or bool"),
      tensor.defined() ? c10::str(tensor.scalar_type()) : "an undefined tensor",
      "What depends continuously on x is recomputed from it.");
  auto* const scope = detail::RememberScope::current();
  return scope == nullptr ? tensor : scope->resolve(name, tensor);
}

}  // namespace torchrev
