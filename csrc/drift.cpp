#include <torchrev/drift.h>

#include <fmt/format.h>

#include "guards/deferred_check.h"
#include "measure/drift.h"

namespace torchrev {

std::ostream& operator<<(std::ostream& stream, const BlockDrift& drift) {
  return stream << fmt::format(
             "reconstruction {:.1e}, gradient {:.1e}",
             drift.reconstruction,
             drift.gradient);
}

std::vector<BlockDrift> drift(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context,
    const ReversibleOptions& options) {
  return detail::measure_drift({"drift", blocks, context, options}, x1, x2);
}

void check_deferred() {
  detail::check_all();
}

}  // namespace torchrev
