#pragma once

#include <functional>
#include <string>

#include "run.h"

/// Compares what a program computes with what plain autograd computes.

namespace torchrev {
namespace test {
namespace differential {

/// What differs, one line each; empty if nothing does. `largest`: the largest
/// magnitude of a stream. `run_plain` runs the program in plain autograd, with
/// a model as it was before `expected`.
std::string difference(
    const Program& program,
    const Record& actual,
    const Record& expected,
    double largest,
    const std::function<Record()>& run_plain);

/// Runs the program both ways.
std::string difference(const Program& program);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
