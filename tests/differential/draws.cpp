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

DrawLog DrawLog::replay_of(const DrawLog& other, bool is_complete) {
  DrawLog log(is_complete ? Mode::kReplay : Mode::kReplayThenDraw);
  log.numbers_ = other.numbers_;
  return log;
}

std::size_t DrawLog::next() const {
  return mode_ == Mode::kRecord ? numbers_.size() : next_;
}

Tensor DrawLog::take(std::size_t number, const std::function<Tensor()>& draw) {
  if (mode_ == Mode::kRecord) {
    auto numbers = draw();
    if (number == numbers_.size()) {
      numbers_.push_back(numbers);
    }
    pause();
    return numbers;
  }
  if (next_ == numbers_.size()) {
    TORCH_CHECK(
        mode_ == Mode::kReplayThenDraw, "plain autograd draws more numbers");
    return draw();
  }
  return numbers_[next_++];
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
  const auto next = current ? static_cast<int64_t>(current->next()) : 0;
  const auto number = remember("number of a draw", torch::tensor(next));
  return current ? current->take(number.item<int64_t>(), draw) : draw();
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
