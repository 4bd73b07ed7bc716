#include <fmt/format.h>
#include <torch/utils.h>

#include <cstdio>

#include "../common/interrupt.h"
#include "../common/program.h"
#include "../memory_meter.h"
#include "arguments.h"
#include "commands.h"
#include "images.h"

namespace train_revnet {
namespace {

Examples first(const Examples& examples, int64_t count) {
  return {
      examples.images.slice(0, 0, count), examples.labels.slice(0, 0, count)};
}

int train_on_images(const Arguments& arguments) {
  const torchrev_examples::Interrupt interrupt;
  auto data = read_images(arguments.data, arguments.unpacked);
  data.training = first(data.training, arguments.images);
  data.test = first(data.test, arguments.test_images);
  fmt::print(
      "images: {} for training, {} for tests, of {}\n",
      data.training.size(),
      data.test.size(),
      arguments.data);
  std::fflush(stdout);
  train(arguments, data, interrupt);
  return interrupt.requested() ? torchrev_examples::kInterrupted : 0;
}

int run(const Arguments& arguments) {
  if (arguments.threads > 0) {
    torch::set_num_threads(static_cast<int>(arguments.threads));
  }
  if (arguments.bytes) {
    compare_bytes(arguments);
    return 0;
  }
  return train_on_images(arguments);
}

}  // namespace
}  // namespace train_revnet

int main(int argc, char** argv) {
  using namespace train_revnet;
  torchrev_examples::MemoryMeter::install();
  return torchrev_examples::run_program("train_revnet", [&] {
    Arguments arguments;
    const auto exit_code = parse(argc, argv, arguments);
    return exit_code ? *exit_code : run(arguments);
  });
}
