#pragma once

#include <cstdint>
#include <initializer_list>
#include <random>

namespace torchrev {
namespace test {
namespace differential {

/// Decides with an engine of its own: torch's would hide what the library does
/// to it.
class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}

  /// A number from 0 to n - 1. Distributions of the standard library differ
  /// between implementations; the same seed is to be the same program.
  int64_t below(int64_t n) {
    return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n));
  }
  int64_t between(int64_t first, int64_t last) {
    return first + below(last - first + 1);
  }
  bool one_in(int64_t n) {
    return below(n) == 0;
  }
  template <typename T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[below(static_cast<int64_t>(values.size()))];
  }
  uint64_t bits() {
    return engine_();
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace differential
}  // namespace test
}  // namespace torchrev
