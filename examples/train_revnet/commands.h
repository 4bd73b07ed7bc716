#pragma once

#include "../common/interrupt.h"
#include "arguments.h"
#include "images.h"
#include "state.h"

namespace train_revnet {

/// Trains all runs up to the end, Ctrl-C or `arguments.steps`, and prints,
/// saves and draws what came of them.
void train(
    const Arguments& arguments,
    const FashionMnist& data,
    const torchrev_examples::Interrupt& interrupt);

/// Prints accuracy, memory and time of the networks side by side.
void print_table(const Arguments& arguments, const State& state);

/// Draws the test accuracy over the epochs, a line for each network.
void draw_plot(const Arguments& arguments, const State& state);

/// Prints the bytes of a step of both networks at three depths.
void compare_bytes(const Arguments& arguments);

}  // namespace train_revnet
