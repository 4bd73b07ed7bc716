#include "checkpoint.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/serialize.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "error.h"

namespace train_reformer {
namespace {

constexpr const char* kShapeKey = "train_reformer_shape";

std::string temporary(const std::string& path) {
  return path + ".part";
}

[[noreturn]] void fail_writing(const std::string& path, int error) {
  std::remove(temporary(path).c_str());
  fail(
      fmt::format("`{}` to be writable", path),
      std::strerror(error),
      "Name a file in a folder that exists and has room.");
}

std::vector<int64_t> sizes(const Shape& shape) {
  return {shape.depth, shape.width, shape.heads, shape.context};
}

std::string describe(const std::vector<int64_t>& sizes) {
  return fmt::format(
      "--depth {} --width {} --heads {} --context {}",
      sizes.at(0),
      sizes.at(1),
      sizes.at(2),
      sizes.at(3));
}

void check_shape(
    const std::vector<int64_t>& saved,
    const Shape& shape,
    const std::string& path) {
  if (saved != sizes(shape)) {
    fail(
        fmt::format("the shape of `{}`, {}", path, describe(saved)),
        describe(sizes(shape)),
        "Pass these options with --resume.");
  }
}

/// Runs `read`; whatever it throws besides a UserError means a broken file.
template <typename Read>
void reading(const std::string& path, Read read) {
  try {
    read();
  } catch (const UserError&) {
    throw;
  } catch (const std::exception&) {
    fail(
        fmt::format("`{}` to be a file that --save wrote", path),
        "one that cannot be read as such",
        "It may be damaged; resume from another.");
  }
}

void write_archive(const State& state, std::ostream& stream) {
  torch::serialize::OutputArchive archive, model, optimizer;
  state.model->save(model);
  state.optimizer.save(optimizer);
  archive.write(kShapeKey, torch::IValue(sizes(state.shape)));
  archive.write("step", torch::IValue(state.step));
  archive.write("model", model);
  archive.write("optimizer", optimizer);
  archive.write(
      "generator",
      at::detail::getDefaultCPUGenerator().get_state(),
      /*is_buffer=*/true);
  archive.save_to(stream);
}

void read_archive(
    torch::serialize::InputArchive& archive,
    State& state,
    const std::string& path) {
  torch::IValue shape, step;
  torch::serialize::InputArchive model, optimizer;
  torch::Tensor generator;
  archive.read(kShapeKey, shape);
  check_shape(shape.toIntVector(), state.shape, path);
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

void check_writable(const std::string& path) {
  if (std::filesystem::is_directory(path)) {
    fail_writing(path, EISDIR);
  }
  if (!std::ofstream(temporary(path))) {
    fail_writing(path, errno);
  }
  std::remove(temporary(path).c_str());
}

void save(const State& state, const std::string& path) {
  std::ofstream stream(temporary(path), std::ios::binary);
  write_archive(state, stream);
  stream.close();
  if (!stream || std::rename(temporary(path).c_str(), path.c_str()) != 0) {
    fail_writing(path, errno);
  }
}

void load(State& state, const std::string& path) {
  if (!std::ifstream(path)) {
    fail(
        fmt::format("`{}` to be readable", path),
        std::strerror(errno),
        "Name a file that --save wrote.");
  }
  reading(path, [&] {
    torch::serialize::InputArchive archive;
    archive.load_from(path);
    read_archive(archive, state, path);
  });
}

}  // namespace train_reformer
