#pragma once

#include "compare.h"

/// Programs that run in several threads at once.

namespace torchrev {
namespace test {
namespace differential {

enum class Sharing {
  /// Each thread has a model and a program of its own.
  kNothing,
  /// Each thread has a replica of one model, made by clone().
  kReplicas,
  /// All threads use one model.
  kModel,
};

/// Where the programs of several threads run; as they are, if empty.
struct Placement {
  /// The program of thread `i`.
  std::function<Program(const Program&, Sharing, std::size_t i)> adapt;
  /// Moves its model.
  std::function<void(const Program&, Model&)> move;
};

/// A program for threads: `program`, but for what belongs to the process.
/// Random numbers are drawn where a log sees them.
Program for_threads(const Program& program, Sharing sharing);

/// What differs from plain autograd, which runs in this thread alone, with the
/// numbers that the threads have drawn.
std::string difference_in_threads(
    uint64_t seed, Sharing sharing, const Placement& placement = {});

}  // namespace differential
}  // namespace test
}  // namespace torchrev
