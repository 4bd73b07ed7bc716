#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <torchrev/branch.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

// Checks of a number that is computed on the device of the streams. On the CPU,
// and wherever work is not queued, the number is there and checked at once. An
// accelerator is not waited for: the number is copied to the host in the
// background, and checked once it has arrived, on behalf of the stack that
// asked.

namespace torchrev {
namespace detail {

// Throws a c10::Error, what the user is to see, if the number is wrong.
using Check = std::function<void(double)>;

// The checks of one stack whose numbers are on their way.
//
// 1. A stack is known by its branches: all calls of the same ones share a
//    DeferredChecks, and no other stack sees it.
// 2. It is judged by runs: from one call or end of a backward pass to the next.
//    All checks of a run have arrived before one of them is judged, so that
//    what fails together is one error. Each is judged once.
// 3. It lives as long as the first branch of its stack does.
// 4. While a stream is captured (a CUDA graph), nothing is submitted and no
//    event is asked: a graph computes when it is launched, and asking would
//    spoil it.
class DeferredChecks {
 public:
  // Of the stack of `blocks`, whose streams are on `device`; null if numbers
  // need not be waited for there.
  static std::shared_ptr<DeferredChecks> of(
      at::ArrayRef<BranchPair> blocks, const c10::Device& device);

  void submit(const at::Tensor& number, Check check);

  // Ends a run, and throws what has arrived of this and earlier ones. Does not
  // wait.
  void end_run();

  // Waits for all numbers. What was wrong with them. Throws in a capture.
  std::vector<std::string> wait();

 private:
  // A number on its way to the host.
  struct Pending {
    at::Tensor number;
    c10::Event copied;
    Check check;
    int64_t run;
  };
  using Queue = std::deque<Pending>;

  static std::vector<std::string> judge(const Queue& checks);
  static bool has_arrived(const Pending& pending);
  // Whether the current stream of its device is captured, so that nothing of
  // the device may be asked.
  static bool is_captured(const Pending& pending);
  // The runs that have ended and arrived, taken out of the queue.
  Queue take_arrived();

  // Guards what follows. No check runs under it, and nobody waits.
  std::mutex mutex_;
  Queue pending_;
  int64_t run_ = 0;
};

// Checks `number`, of one element: at once, or by `owner` where it arrives
// later.
void submit_check(
    const at::Tensor& number,
    Check check,
    const std::shared_ptr<DeferredChecks>& owner = nullptr);

// Waits for the numbers of all stacks that live, and throws what is wrong with
// them, in one error.
void check_all();

}  // namespace detail
}  // namespace torchrev
