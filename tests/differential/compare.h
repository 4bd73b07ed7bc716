#pragma once

#include "run.h"

/// Compares what a program computes with what plain autograd computes.

namespace torchrev {
namespace test {
namespace differential {

/// What differs, one line each; empty if nothing does.
std::string difference(
    const Program& program, const Record& actual, const Record& expected);

/// Runs the program both ways.
std::string difference(const Program& program);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
