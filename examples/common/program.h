#pragma once

#include <functional>

namespace torchrev_examples {

/// What shells report for a program that Ctrl-C ended.
constexpr int kInterrupted = 130;

/// The exit code of `body`, or 1 for an exception, whose message is printed; a
/// UserError's follows the name of the program.
int run_program(const char* name, const std::function<int()>& body);

}  // namespace torchrev_examples
