// Trains a TorchScript module whose forward calls torch.ops.torchrev: one that
// Python saved (python/exchange_with_cpp.py), one that this program saved, or
// a new one. Python loads what it saves.
//
//   load_torchscript --save new.pt
//   load_torchscript --load new.pt --save trained.pt

#include <torch/csrc/jit/frontend/sugared_value.h>
#include <torch/script.h>
#include <torch/torch.h>
#include <torchrev/ops.h>  // links the library that brings the operators

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace {

using torch::Tensor;
using Script = torch::jit::Module;
constexpr int64_t kWidth = 16;  // of a stream

/// Lets code that is compiled here call `torchrev.<operator>`; in a file that
/// Python saved, operators have their full names already.
struct Operators : torch::jit::NativeResolver {
  std::shared_ptr<torch::jit::SugaredValue> resolveValue(
      const std::string& name,
      torch::jit::GraphFunction& method,
      const torch::jit::SourceRange& place) override {
    if (name == "torchrev") {
      return std::make_shared<torch::jit::BuiltinModule>(name);
    }
    return NativeResolver::resolveValue(name, method, place);
  }
};

Script branch() {
  Script module("Branch");
  const auto weight = torch::randn({kWidth, kWidth}) / kWidth;
  module.register_parameter("weight", weight.requires_grad_(), false);
  module.define("def forward(self, x):\n  return (x @ self.weight).tanh()\n");
  return module;
}

Script network() {
  Script blocks("Blocks"), module("Network");
  for (const std::string name : {"0", "1", "2", "3"}) {
    Script block("Block");
    block.register_module("f", branch());
    block.register_module("g", branch());
    blocks.register_module(name, block);
  }
  module.register_module("blocks", blocks);
  module.register_buffer("loss", torch::zeros({}));
  const auto forward = R"(
def forward(self, x):
    x1, x2 = torch.chunk(x, 2, -1)
    return torch.cat(torchrev.reversible_sequence(self.blocks, x1, x2), -1)
)";
  module.define(forward, std::make_shared<Operators>());
  return module;
}

/// How far the module is from rolling its input by one, on inputs that are the
/// same in C++ and Python.
Tensor loss_of(Script& module) {
  torch::manual_seed(1);
  const auto x = torch::randn({64, 2 * kWidth});
  return torch::mse_loss(module.forward({x}).toTensor(), x.roll(1, 1));
}

/// The module in `file`, after a check that it computes here what it computed
/// where it was saved.
Script load(const std::string& file) {
  auto module = torch::jit::load(file);
  const auto saved = module.attr("loss").toTensor().item<float>();
  const auto loss = loss_of(module).item<float>();
  TORCH_CHECK(
      std::abs(loss - saved) < 1e-6f,
      c10::str("expected ", file, " to have loss ", saved, ", got ", loss));
  return module;
}

void train(Script& module) {
  std::vector<Tensor> parameters;
  for (const Tensor& parameter : module.parameters()) {
    parameters.push_back(parameter);
  }
  torch::optim::Adam optimizer(parameters, 1e-2);
  for (int step = 0; step < 20; ++step) {
    optimizer.zero_grad();
    loss_of(module).backward();
    optimizer.step();
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Trains a TorchScript module that uses torchrev.");
  std::string from, to;
  app.add_option("--load", from, "The module to train; none: a new one.")
      ->check(CLI::ExistingFile);
  app.add_option("--save", to, "Where to save it.")->required();
  CLI11_PARSE(app, argc, argv);

  auto module = from.empty() ? network() : load(from);
  const auto before = loss_of(module).item<float>();
  train(module);
  const auto after = loss_of(module).detach();
  module.setattr("loss", after);
  module.save(to);
  std::cout << "C++: loss " << before << " -> " << after.item<float>() << "\n";
  return after.item<float>() < before ? EXIT_SUCCESS : EXIT_FAILURE;
}
