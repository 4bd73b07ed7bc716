#include "checkpoint.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/serialize.h>

#include <string>

#include "../common/archive.h"
#include "../common/error.h"

namespace train_reformer {
namespace {

constexpr const char* kShapeKey = "train_reformer_shape";

std::string options_of(const Shape& shape) {
  auto options = fmt::format(
      "--depth {} --width {} --heads {} --context {} --attention {}",
      shape.depth,
      shape.width,
      shape.heads,
      shape.context,
      shape.attention);
  if (shape.attention == "lsh") {
    options += fmt::format(
        " --chunk-length {} --hashes {}", shape.chunk_length, shape.hashes);
  }
  return options;
}

void check_shape(
    const std::string& saved, const Shape& shape, const std::string& path) {
  if (saved != options_of(shape)) {
    torchrev_examples::fail(
        fmt::format("the shape of `{}`, {}", path, saved),
        options_of(shape),
        "Pass these options with --resume.");
  }
}

void write_archive(
    const State& state, torch::serialize::OutputArchive& archive) {
  torch::serialize::OutputArchive model, optimizer;
  state.model->save(model);
  state.optimizer.save(optimizer);
  archive.write(kShapeKey, torch::IValue(options_of(state.shape)));
  archive.write("step", torch::IValue(state.step));
  archive.write("model", model);
  archive.write("optimizer", optimizer);
  archive.write(
      "generator",
      at::detail::getDefaultCPUGenerator().get_state(),
      /*is_buffer=*/true);
}

void read_archive(
    torch::serialize::InputArchive& archive,
    State& state,
    const std::string& path) {
  torch::IValue shape, step;
  torch::serialize::InputArchive model, optimizer;
  torch::Tensor generator;
  archive.read(kShapeKey, shape);
  check_shape(shape.toStringRef(), state.shape, path);
  archive.read("step", step);
  archive.read("model", model);
  archive.read("optimizer", optimizer);
  archive.read("generator", generator, /*is_buffer=*/true);
  state.model->load(model);
  state.optimizer.load(optimizer);
  state.step = step.toInt();
  auto default_generator = at::detail::getDefaultCPUGenerator();  // a handle
  default_generator.set_state(generator);
}

}  // namespace

void save(const State& state, const std::string& path) {
  torch::serialize::OutputArchive archive;
  write_archive(state, archive);
  torchrev_examples::save_archive(archive, path);
}

void load(State& state, const std::string& path) {
  torchrev_examples::load_archive(
      path, [&](auto& archive) { read_archive(archive, state, path); });
}

}  // namespace train_reformer
