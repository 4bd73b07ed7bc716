#pragma once

#include "run.h"

/// Compares what a program computes with what plain autograd computes.

namespace torchrev {
namespace test {
namespace differential {

/// What differs, one line each; empty if nothing does. `largest`: the largest
/// magnitude of a stream in this thread; 0 if that is not known.
std::string difference(
    const Program& program,
    const Record& actual,
    const Record& expected,
    double largest);

/// Runs the program both ways.
std::string difference(const Program& program);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
