#pragma once

#include "stack/step.h"
#include "streams/stream_pair.h"

// NOTE [Inner passes]
// A pass that starts at the end of a segment hands each step its pair through
// the relay. A pass may start at an inner step: that of a second derivative, or
// a part of a split backward, as pipelines run it, which compute the gradients
// of inputs first and those of parameters later, node by node, in any order.
// There the pair is rebuilt, without a graph, from the nearest one after the
// step that is known:
// 1. y1 and y2, until a pass that frees the graph has run over the end;
// 2. `Step::kept`, the pair after that step. It is kept of what create_graph
//    has run, of what such a rebuilding has come by, and before a step that
//    was freed by a pass that did not run the step before it: nobody could
//    rebuild that pair any more. It goes when its step is freed.
// A pass from the end to the inputs keeps nothing. Nor does one that frees the
// graph and ends half-way, at a parameter: it has freed the end, and the steps
// before it have no pair.

namespace torchrev {
namespace detail {

// The pair after `step`: what the running pass has left for it, or rebuilt.
// Throws c10::ValueError where nothing is known any more. Frees `kept` of the
// step with the graph, and else keeps the pair for a second derivative.
StreamPair take_pair(Step& step);

// What becomes of the pair before `step`, which the running pass is about to
// leave.
enum class PairBefore {
  kNotNeeded,
  // The step before runs in this pass.
  kToRelay,
  // It does not, and nobody could rebuild the pair for it later.
  kToKeep,
};
PairBefore use_of_pair_before(const Step& step);

// Leaves it there.
void leave_pair(const Step& step, PairBefore use, StreamPair pair);

}  // namespace detail
}  // namespace torchrev
