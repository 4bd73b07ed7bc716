#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arguments.h"
#include "trainer.h"

namespace train_revnet {

/// What came of the steps of an epoch.
struct Epoch {
  /// Mean over the steps, once the epoch is over; their sum before.
  double loss = 0;
  /// In percent, after the epoch.
  double accuracy = 0;
  /// Of training.
  double seconds = 0;
  int64_t peak_bytes = 0;
};

/// How far all runs have come.
struct State {
  /// Which of Arguments::runs() is being trained; their number at the end.
  int64_t run = 0;
  /// Steps of that run.
  int64_t step = 0;
  /// What the steps of the epoch that is not over have added up.
  Epoch current;
  /// The finished epochs of each run.
  std::vector<std::vector<Epoch>> epochs;
};

/// Writes all that a later run needs to go on bit for bit; see
/// torchrev_examples::save_archive.
/// @param trainer that of the run `state.run`, if it is not the end.
void save(
    const Arguments& arguments, const State& state, const Trainer* trainer);

/// @throws UserError if `arguments.resume` is not a file that `save` wrote, or
///         was written with other options.
State load_state(const Arguments& arguments);
/// Network and optimiser of the run at which the file was saved.
void load_trainer(const Arguments& arguments, Trainer& trainer);

}  // namespace train_revnet
