#include "state.h"

#include <fmt/ranges.h>
#include <torch/serialize.h>

#include "../common/archive.h"
#include "../common/error.h"

namespace train_revnet {
namespace {

using torch::serialize::InputArchive;
using torch::serialize::OutputArchive;

constexpr const char* kOptionsKey = "train_revnet_options";

/// What has to be the same for a run in parts to equal one in one go.
std::string options_of(const Arguments& arguments) {
  const auto& shape = arguments.shape;
  return fmt::format(
      "--model {} --depths {} --widths {} --block {} --seeds {} --epochs {} "
      "--batch {} --lr {} --images {} --test-images {}",
      arguments.models.size() > 1 ? "both" : arguments.models.front(),
      fmt::join(shape.depths, ","),
      fmt::join(shape.widths, ","),
      shape.block,
      fmt::join(arguments.seeds, ","),
      arguments.epochs,
      arguments.batch,
      arguments.lr,
      arguments.images,
      arguments.test_images);
}

void check_options(const Arguments& arguments, const std::string& saved) {
  const auto options = options_of(arguments);
  if (saved != options) {
    torchrev_examples::fail(
        fmt::format("the options of `{}`, {}", arguments.resume, saved),
        options,
        "Pass these options with --resume.");
  }
}

// Numbers of an epoch as a row of a tensor, and back. The bytes stay exact:
// below 2^53.
constexpr int64_t kColumns = 4;

torch::Tensor rows_of(const std::vector<Epoch>& epochs) {
  auto rows = torch::empty(
      {static_cast<int64_t>(epochs.size()), kColumns},
      torch::dtype(torch::kDouble));
  auto* out = rows.data_ptr<double>();
  for (const auto& epoch : epochs) {
    *out++ = epoch.loss;
    *out++ = epoch.accuracy;
    *out++ = epoch.seconds;
    *out++ = static_cast<double>(epoch.peak_bytes);
  }
  return rows;
}

std::vector<Epoch> epochs_of(const torch::Tensor& rows) {
  std::vector<Epoch> epochs;
  const auto* in = rows.data_ptr<double>();
  for (int64_t row = 0; row < rows.size(0); ++row, in += kColumns) {
    epochs.push_back({in[0], in[1], in[2], static_cast<int64_t>(in[3])});
  }
  return epochs;
}

std::string rows_key(std::size_t run) {
  return "epochs_" + std::to_string(run);
}

int64_t read_number(InputArchive& archive, const char* key) {
  torch::IValue number;
  archive.read(key, number);
  return number.toInt();
}

std::vector<Epoch> read_rows(InputArchive& archive, const std::string& key) {
  torch::Tensor rows;
  archive.read(key, rows, /*is_buffer=*/true);
  return epochs_of(rows);
}

}  // namespace

void save(
    const Arguments& arguments, const State& state, const Trainer* trainer) {
  OutputArchive archive, network, optimizer;
  archive.write(kOptionsKey, torch::IValue(options_of(arguments)));
  archive.write("run", torch::IValue(state.run));
  archive.write("step", torch::IValue(state.step));
  archive.write("current", rows_of({state.current}), /*is_buffer=*/true);
  for (std::size_t run = 0; run < state.epochs.size(); ++run) {
    archive.write(rows_key(run), rows_of(state.epochs[run]), true);
  }
  if (trainer != nullptr) {
    trainer->network.ptr()->save(network);
    trainer->optimizer.save(optimizer);
    archive.write("network", network);
    archive.write("optimizer", optimizer);
  }
  torchrev_examples::save_archive(archive, arguments.save);
}

State load_state(const Arguments& arguments) {
  State state;
  torchrev_examples::load_archive(arguments.resume, [&](InputArchive& archive) {
    torch::IValue options;
    archive.read(kOptionsKey, options);
    check_options(arguments, options.toStringRef());
    state.run = read_number(archive, "run");
    state.step = read_number(archive, "step");
    state.current = read_rows(archive, "current").front();
    for (std::size_t run = 0; run < arguments.runs().size(); ++run) {
      state.epochs.push_back(read_rows(archive, rows_key(run)));
    }
  });
  return state;
}

void load_trainer(const Arguments& arguments, Trainer& trainer) {
  torchrev_examples::load_archive(arguments.resume, [&](InputArchive& archive) {
    InputArchive network, optimizer;
    archive.read("network", network);
    archive.read("optimizer", optimizer);
    trainer.network.ptr()->load(network);
    trainer.optimizer.load(optimizer);
  });
}

}  // namespace train_revnet
