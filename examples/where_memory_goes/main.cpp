// Where the memory of training goes: the bytes of every activation that a
// Transformer layer keeps for backward, by name, for plain autograd, for
// checkpointing, and for reversible blocks, and what that is over depth.

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "../common/error.h"
#include "../common/program.h"
#include "arguments.h"
#include "report.h"

namespace where_memory_goes {
namespace {

/// Opened before anything is measured, so that a wrong path costs no time.
std::ofstream open(const std::string& path) {
  errno = 0;
  std::ofstream file(path);
  if (!file) {
    torchrev_examples::fail(
        fmt::format("`{}` to be writable", path),
        std::strerror(errno),
        "Name a file in a folder that exists.");
  }
  return file;
}

void run(const Arguments& arguments) {
  auto plot = open(arguments.plot);
  std::ofstream numbers;
  if (!arguments.csv.empty()) {
    numbers = open(arguments.csv);
  }
  fmt::print(
      "d_model {}, d_ff {}, {} heads, {} x {} tokens, float32. Bytes are those "
      "of tensors, above\nparameters and their gradients. kept: from forward "
      "to backward. again: recomputed in backward.\n\n",
      arguments.d_model,
      arguments.d_ff,
      arguments.heads,
      arguments.batch,
      arguments.tokens);
  std::fflush(stdout);
  const auto accounts = measure(arguments);
  fmt::print(
      "{}\n{}\n{}\n",
      table_of_names(accounts),
      table_of_totals(accounts, arguments),
      answer(accounts, arguments));
  plot << chart(accounts, arguments);
  numbers << csv(accounts);
  fmt::print("The plot is in {}.\n", arguments.plot);
}

}  // namespace
}  // namespace where_memory_goes

int main(int argc, char** argv) {
  // Before the first tensor.
  torchrev_examples::MemoryMeter::install();
  return torchrev_examples::run_program("where_memory_goes", [&] {
    where_memory_goes::Arguments arguments;
    const auto exit_code = where_memory_goes::parse(argc, argv, arguments);
    if (!exit_code) {
      where_memory_goes::run(arguments);
    }
    return exit_code.value_or(0);
  });
}
