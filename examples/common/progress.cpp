#include "progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace torchrev_examples {
namespace {

constexpr int64_t kBarWidth = 12;
constexpr int64_t kPlainLines = 10;

}  // namespace

double seconds_now() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

std::string mebibytes(int64_t bytes) {
  return fmt::format("{:.1f}", static_cast<double>(bytes) / (1 << 20));
}

Progress::Progress(int64_t first, int64_t last)
    : first_(first),
      last_(last),
      begin_(seconds_now()),
      terminal_(isatty(STDOUT_FILENO) != 0) {}

std::string Progress::bar(int64_t step) const {
  const auto filled = kBarWidth * step / std::max<int64_t>(last_, 1);
  return std::string(static_cast<std::size_t>(filled), '#') +
         std::string(static_cast<std::size_t>(kBarWidth - filled), '.');
}

std::string Progress::time_left(int64_t step) const {
  const auto a_step =
      (seconds_now() - begin_) / static_cast<double>(step - first_);
  const auto left =
      static_cast<int64_t>(a_step * static_cast<double>(last_ - step) + 0.5);
  return fmt::format("{}:{:02} left", left / 60, left % 60);
}

void Progress::update(int64_t step, const std::string& status) {
  const auto every = std::max<int64_t>((last_ - first_) / kPlainLines, 1);
  if (!terminal_ && (step - first_) % every != 0 && step != last_) {
    return;
  }
  const auto line =
      fmt::format("step {}/{}  {}  {}", step, last_, status, time_left(step));
  if (terminal_) {
    fmt::print("\r\x1b[K{} {}", bar(step), line);
    open_ = true;
  } else {
    fmt::print("{}\n", line);
  }
  std::fflush(stdout);
}

void Progress::finish() {
  if (open_) {
    fmt::print("\n");
  }
  open_ = false;
}

}  // namespace torchrev_examples
