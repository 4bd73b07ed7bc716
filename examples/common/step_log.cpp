#include "step_log.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "error.h"

namespace torchrev_examples {
namespace {

/// The lines of steps 1 to `keep`.
std::string earlier_lines(const std::string& path, int64_t keep) {
  std::ifstream stream(path);
  std::string lines, line;
  while (std::getline(stream, line)) {
    const auto step = std::atoll(line.c_str());
    if (step >= 1 && step <= keep) {
      lines += line + "\n";
    }
  }
  return lines;
}

}  // namespace

StepLog::StepLog(
    const std::string& path, const std::string& header, int64_t keep) {
  if (path.empty()) {
    return;
  }
  const auto lines = earlier_lines(path, keep);
  stream_.open(path, std::ios::trunc);
  if (!stream_) {
    fail(
        fmt::format("`{}` to be writable", path),
        std::strerror(errno),
        "Name a file in a folder that exists.");
  }
  stream_ << header << '\n' << lines << std::flush;
}

void StepLog::add(const std::string& line) {
  if (stream_.is_open()) {
    stream_ << line << '\n' << std::flush;
  }
}

}  // namespace torchrev_examples
