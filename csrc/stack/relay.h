#pragma once

#include <torchrev/step_id.h>

#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "guards/stream_observer.h"
#include "stack/handed_pair.h"
#include "streams/direction.h"
#include "streams/stream_pair.h"

namespace torchrev {
namespace detail {

// Hands the rebuilt pair from one step of a segment to the step before it,
// within each backward pass that runs over the segment.
//
// 1. A pass owns its slot, the relay only looks at it: whatever ends the pass,
//    an exception in a stranger's node included, frees the pair.
// 2. A slot is for one step: `take(step)` succeeds once, for that very step.
// 3. A step that runs on another stream of its device than the step that left
//    the pair is ordered after it.
// 4. Pairs carry no grad_fn: a relay is owned by the graph's nodes, so one that
//    led back to them would be a cycle.
// 5. An observer sees the pairs of forward and those of passes that start at
//    the end of the segment. It goes with the first pass that frees the graph.
class Relay {
 public:
  // `direction`: of the steps.
  explicit Relay(Direction direction = Direction::kForward)
      : direction_(direction) {}

  void observe(std::shared_ptr<StreamObserver> observer);

  // The streams before `block`, as the steps run.
  void in_forward(int64_t block, const StreamPair& pair);

  // Leaves `pair`, the end of the segment, for `step`: a pass begins.
  void begin(const StepId& step, StreamPair pair, bool keeps_graph);

  // Leaves `pair` for `step`, in the running backward pass.
  void put(const StepId& step, StreamPair pair);

  // Notes that a step of the running pass has done its work on `device`:
  // whoever called the pass waits for it. The engine sees to that only where a
  // gradient comes of it.
  void note_work(const c10::Device& device);

  // The pair that was left for `step` in the running backward pass; undefined
  // tensors if there is none.
  StreamPair take(const StepId& step);

 private:
  struct Slot {
    StepId step;
    HandedPair pair;
    // The last work on each stream.
    std::vector<Handover> work;
    std::shared_ptr<StreamObserver> observer;

    void hold(const StepId& for_step, StreamPair new_pair);
    void note(Handover new_work);
  };

  // The slot of the running pass; made, and given to the pass, if missing.
  std::shared_ptr<Slot> slot_of_pass();

  const Direction direction_;
  // Guards what follows. No user code and no backward runs under it.
  std::mutex mutex_;
  std::shared_ptr<StreamObserver> observer_;
  std::unordered_map<int64_t, std::weak_ptr<Slot>> slots_;
};

}  // namespace detail
}  // namespace torchrev
