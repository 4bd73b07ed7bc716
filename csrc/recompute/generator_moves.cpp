#include "recompute/generator_moves.h"

#include <atomic>
#include <mutex>
#include <unordered_map>

namespace torchrev {
namespace detail {

namespace {

// The only thread whose branches have drawn; null if none has, or the address
// of this variable if several have. A thread has the address of its own
// thread_local.
std::atomic<const void*> drawing_thread{nullptr};

const void* this_thread() {
  thread_local char address;
  return &address;
}

}  // namespace

GeneratorMoves& GeneratorMoves::of(const at::Generator& generator) {
  static std::mutex mutex;
  static std::unordered_map<const c10::GeneratorImpl*, GeneratorMoves> all;
  const std::lock_guard<std::mutex> lock(mutex);
  return all[generator.unsafeGetGeneratorImpl()];
}

void GeneratorMoves::note(
    const GeneratorState& before, const GeneratorState& after) {
  others(before);
  last_ = after;
}

std::size_t GeneratorMoves::others(const GeneratorState& now) {
  if (!last_ || !(*last_ == now)) {
    ++others_;
    last_ = now;
  }
  return others_;
}

void note_drawing_thread() {
  const void* only = nullptr;
  if (!drawing_thread.compare_exchange_strong(only, this_thread()) &&
      only != this_thread()) {
    drawing_thread = &drawing_thread;
  }
}

bool other_threads_draw() {
  const auto* thread = drawing_thread.load();
  return thread && thread != this_thread();
}

}  // namespace detail
}  // namespace torchrev
