// Uses an operator of torchrev by its name alone.

#include <ATen/core/dispatch/Dispatcher.h>
#include <torchrev/ops.h>

#include <iostream>

int main() {
  const auto op = c10::Dispatcher::singleton().findSchema(
      {"torchrev::reversible_sequence", ""});
  if (!op) {
    std::cerr << "torchrev::reversible_sequence is not registered.\n";
    return 1;
  }
  std::cout << op->schema() << "\n";
  return 0;
}
