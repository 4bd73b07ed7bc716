#include "call.h"

#include "in_place.h"

namespace torchrev {
namespace detail {

Call::Call(
    const char* entry,
    const ReversibleOptions& options,
    const Arithmetic& arithmetic,
    const StreamPair& x)
    : entry(entry),
      options(options),
      arithmetic(arithmetic),
      strides({layout_of(x[0]), layout_of(x[1])}) {}

}  // namespace detail
}  // namespace torchrev
