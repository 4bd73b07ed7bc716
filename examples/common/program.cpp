#include "program.h"

#include <c10/util/Exception.h>

#include <cstdio>
#include <exception>

#include "error.h"

namespace torchrev_examples {

int run_program(const char* name, const std::function<int()>& body) {
  try {
    return body();
  } catch (const UserError& error) {
    fmt::print(stderr, "{}: {}\n", name, error.what());
  } catch (const c10::Error& error) {
    fmt::print(stderr, "{}\n", error.what_without_backtrace());
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
  }
  return 1;
}

}  // namespace torchrev_examples
