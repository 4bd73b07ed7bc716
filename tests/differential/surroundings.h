#pragma once

#include <torch/csrc/autograd/anomaly_mode.h>

#include <exception>
#include <functional>
#include <thread>

/// What a program may run in, besides autocast: anomaly mode, another thread.

namespace torchrev {
namespace test {
namespace differential {

/// Anomaly mode for as long as it lives, if `on`. It is one for all threads.
class AnomalyMode {
 public:
  explicit AnomalyMode(bool on) : on_(on) {
    if (on_) {
      torch::autograd::AnomalyMode::set_enabled(true);
    }
  }
  ~AnomalyMode() {
    if (on_) {
      torch::autograd::AnomalyMode::set_enabled(false);
    }
  }

 private:
  bool on_;
};

/// Calls `body`, in a thread of its own if `other_thread`.
inline void call(bool other_thread, const std::function<void()>& body) {
  if (!other_thread) {
    body();
    return;
  }
  std::exception_ptr error;
  std::thread([&] {
    try {
      body();
    } catch (...) {
      error = std::current_exception();
    }
  }).join();
  if (error) {
    std::rethrow_exception(error);
  }
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
