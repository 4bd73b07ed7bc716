#pragma once

#include "draws.h"
#include "plain.h"
#include "record.h"

/// Runs a program, with the library or with plain autograd.

namespace torchrev {
namespace test {
namespace differential {

Record run(Way way, const Program& program, const Model& model);

/// A run beside others, which draws by `log`. It is ready to start: what its
/// arguments take from the generator has been drawn.
std::function<Record()> prepare(
    Way way, const Program& program, const Model& model, DrawLog& log);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
