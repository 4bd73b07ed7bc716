#pragma once

#include <torchrev/nn/reformer.h>

#include <string>

#include "support/support.h"

namespace torchrev {
namespace test {

/// Of the smallest Reformer that has several of everything.
constexpr int64_t kWidth = 8;
constexpr int64_t kHeads = 2;

inline nn::ReformerOptions small(
    const std::string& attention, int64_t num_layers = 2) {
  return nn::ReformerOptions(kWidth, kHeads, num_layers)
      .dim_feedforward(16)
      .attention(attention)
      .chunk_length(4)
      .num_hashes(2)
      .dropout(0.0);
}

}  // namespace test
}  // namespace torchrev
