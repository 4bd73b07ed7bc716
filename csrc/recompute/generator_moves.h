#pragma once

#include <ATen/core/Generator.h>

#include <cstddef>

#include "recompute/generator_state.h"

namespace torchrev {
namespace detail {

// What moves a default generator: operators of branches, and recomputes that
// set it and put it back, which tell of it; or anything else. A call thus
// learns whether it, or a thread that is a stranger, drew numbers that no
// record has.
//
// Whoever uses one holds the mutex of its generator.
class GeneratorMoves {
 public:
  // Of the default generator of some device.
  static GeneratorMoves& of(const at::Generator& generator);

  // Tells that the caller takes the generator from `before` to `after`.
  void note(const GeneratorState& before, const GeneratorState& after);

  // How many times anything else has moved it. It stands at `now`: what moves
  // it twice between two looks counts once, and not at all if it goes back.
  std::size_t others(const GeneratorState& now);

 private:
  // Where it stood last.
  torch::optional<GeneratorState> last_;
  std::size_t others_ = 0;
};

// Tells that a branch draws in this thread.
void note_drawing_thread();

// Whether branches draw in other threads than this one, or have done so.
bool other_threads_draw();

}  // namespace detail
}  // namespace torchrev
