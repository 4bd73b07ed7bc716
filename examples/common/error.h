#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace torchrev_examples {

/// Something that the user can put right: printed without a stack trace.
class UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail(
    const std::string& expected,
    const std::string& got,
    const std::string& way_out) {
  throw UserError(
      fmt::format("expected {}, but got {}. {}", expected, got, way_out));
}

inline void check_at_least(const char* option, int64_t minimum, int64_t value) {
  if (value < minimum) {
    fail(
        fmt::format("`{}` to be at least {}", option, minimum),
        fmt::format("{}", value),
        "See --help for defaults.");
  }
}

}  // namespace torchrev_examples
