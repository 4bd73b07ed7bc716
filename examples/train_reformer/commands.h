#pragma once

#include "../common/interrupt.h"
#include "arguments.h"
#include "corpus.h"

namespace train_reformer {

using torchrev_examples::Interrupt;

/// Trains, saves, and prints what came of it.
void train(
    const Arguments& arguments,
    const Corpus& corpus,
    const Interrupt& interrupt);

/// Trains a few steps in both modes at two depths, and prints losses, peak
/// bytes and times side by side.
void compare_modes(
    const Arguments& arguments,
    const Corpus& corpus,
    const Interrupt& interrupt);

}  // namespace train_reformer
