#pragma once

#include <cstdint>
#include <string>

#include "model.h"

namespace train_reformer {

/// `count` bytes that `model` writes after `prompt`, drawn from a generator of
/// their own. Each sees the `context` bytes before it.
std::string sample(
    ReformerLM& model,
    int64_t context,
    const std::string& prompt,
    int64_t count,
    int64_t seed);

/// `text` fit for a terminal: what is neither printable ASCII nor a line break
/// or tab becomes \xNN.
std::string printable(const std::string& text);

}  // namespace train_reformer
