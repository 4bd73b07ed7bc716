#pragma once

#include "run.h"

namespace torchrev {
namespace test {
namespace differential {

/// y1 and y2, or y for an entry of one tensor: one call of the program's entry
/// or of its inverse, or what coupling.h computes in its place.
std::vector<Tensor> outputs(
    Way way,
    const Program& program,
    const Model& model,
    bool inverse,
    const std::vector<Tensor>& x,
    const std::vector<Tensor>& context);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
