#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace train_reformer {

/// Something that the user can put right: printed without a stack trace.
class UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail(
    const std::string& expected,
    const std::string& got,
    const std::string& way_out) {
  throw UserError(fmt::format(
      "train_reformer: expected {}, but got {}. {}", expected, got, way_out));
}

}  // namespace train_reformer
