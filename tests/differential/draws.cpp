#include "draws.h"

#include <torch/torch.h>

#include <chrono>
#include <thread>

namespace torchrev {
namespace test {
namespace differential {

namespace {

thread_local DrawLog* current = nullptr;

// Makes room for other threads behind a draw.
void pause() {
  std::this_thread::sleep_for(std::chrono::microseconds(50));
}

}  // namespace

DrawLog DrawLog::replay_of(const DrawLog& other) {
  DrawLog log(Mode::kReplay);
  log.numbers_ = other.numbers_;
  return log;
}

Tensor DrawLog::take(const std::function<Tensor()>& draw) {
  if (mode_ == Mode::kReplay) {
    TORCH_CHECK(next_ < numbers_.size(), "plain autograd draws more numbers");
    return numbers_[next_++];
  }
  numbers_.push_back(draw());
  pause();
  return numbers_.back();
}

DrawScope::DrawScope(DrawLog* log) : outer_(current) {
  current = log;
}

DrawScope::~DrawScope() {
  current = outer_;
}

Tensor drawn_mask(const Tensor& x, double p) {
  const auto draw = [&] {
    const at::NoGradGuard no_grad;
    return torch::bernoulli(torch::full_like(x, 1 - p)) / (1 - p);
  };
  return current ? current->take(draw) : draw();
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
