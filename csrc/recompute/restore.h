#pragma once

#include <utility>

namespace torchrev {
namespace detail {

// Puts `state` back when it is destroyed.
template <typename State>
class Restore {
 public:
  explicit Restore(State state) : state_(std::move(state)) {}
  ~Restore() {
    state_.restore();
  }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  State state_;
};

}  // namespace detail
}  // namespace torchrev
