#include <torchrev/nn/revnet.h>

#include <torch/csrc/api/include/torch/nn/modules/activation.h>

#include <algorithm>
#include <utility>

#include "check.h"
#include "nn/clone.h"
#include "nn/residual_block.h"
#include "options.h"

namespace torchrev {
namespace nn {

namespace {

void check_stages(const RevNetOptions& options) {
  const auto& depths = options.depths();
  TORCHREV_CHECK(
      ValueError,
      !depths.empty(),
      "nn::RevNet",
      "option `depths` to list one or more stages",
      "an empty list");
  TORCHREV_CHECK(
      ValueError,
      depths.size() == options.widths().size(),
      "nn::RevNet",
      "options `depths` and `widths` to be of equal length",
      c10::str(
          at::IntArrayRef(depths), " and ", at::IntArrayRef(options.widths())),
      "Each lists one value a stage.");
  for (const auto depth : depths) {
    TORCHREV_CHECK(
        ValueError,
        depth >= 1,
        "nn::RevNet",
        "each of option `depths` to be at least 1",
        c10::str(depth),
        "It is the number of reversible blocks of a stage.");
  }
}

void check_widths(const RevNetOptions& options) {
  const auto& widths = options.widths();
  const bool basic = options.block() == "basic";
  const int64_t multiple = basic ? 2 : 2 * detail::kExpansion;
  for (const auto width : widths) {
    TORCHREV_CHECK(
        ValueError,
        width > 0 && width % multiple == 0,
        "nn::RevNet",
        c10::str(
            "each of option `widths` to be ",
            basic ? "even and positive" : "a positive multiple of 8"),
        c10::str(width),
        c10::str(
            "Each stream has half of the channels",
            basic ? "." : ", and its bottleneck a quarter of these."));
  }
  TORCHREV_CHECK(
      ValueError,
      std::is_sorted(widths.begin(), widths.end()),
      "nn::RevNet",
      "option `widths` not to decrease",
      c10::str(at::IntArrayRef(widths)),
      "Shortcuts add channels and drop none.");
}

void check_streams(const Streams& streams) {
  TORCHREV_CHECK(
      ValueError,
      streams.kind == Streams::Kind::kSplit && streams.dim == 1,
      "nn::RevNet",
      "option `reversible` to split(1)",
      c10::str(
          streams.kind == Streams::Kind::kDuplicate  ? "duplicate()"
          : streams.kind == Streams::Kind::kVelocity ? "velocity()"
                                                     : "split of dimension ",
          streams.kind == Streams::Kind::kSplit ? std::to_string(streams.dim)
                                                : ""),
      "Its streams are halves of the channels.");
}

void check_chunks(const ReversibleOptions& options) {
  TORCHREV_CHECK(
      ValueError,
      options.chunks_f() == 1 && options.chunks_g() == 1,
      "nn::RevNet",
      "option `reversible` to have chunks_f = chunks_g = 1",
      c10::str(options.chunks_f(), " and ", options.chunks_g()),
      "Convolutions mix pixels, and batch norms mix images.");
}

void check(const RevNetOptions& options) {
  detail::check_block("nn::RevNet", options.block());
  check_stages(options);
  check_widths(options);
  detail::check_at_least("nn::RevNet", "classes", 1, options.classes());
  detail::check_at_least("nn::RevNet", "in_channels", 1, options.in_channels());
  check_streams(options.reversible().streams());
  check_chunks(options.reversible());
}

torch::nn::Sequential stem_of(int64_t in_channels, int64_t width) {
  return torch::nn::Sequential(
      detail::convolution(in_channels, width, /*kernel=*/3),
      torch::nn::BatchNorm2d(width),
      torch::nn::ReLU());
}

ReversibleSequential stage_of(const RevNetOptions& options, std::size_t i) {
  const auto half = options.widths()[i] / 2;
  const auto function = ResidualBlockOptions(half, half).block(options.block());
  ReversibleSequential stage(ReversibleSequentialOptions(options.reversible())
                                 .memory_budget(options.memory_budget()));
  for (int64_t block = 0; block < options.depths()[i]; ++block) {
    auto f = residual_function(function);
    stage->push_back(f, residual_function(function));
  }
  return stage;
}

}  // namespace

RevNetImpl::RevNetImpl(RevNetOptions options) : options(std::move(options)) {
  check(this->options);
  const auto& widths = this->options.widths();
  const auto& block = this->options.block();
  stem = register_module(
      "stem", stem_of(this->options.in_channels(), widths.front()));
  for (std::size_t i = 0; i < widths.size(); ++i) {
    if (i > 0) {
      downs.push_back(register_module(
          "down" + std::to_string(i),
          ResidualBlock(ResidualBlockOptions(widths[i - 1], widths[i])
                            .stride(2)
                            .block(block))));
    }
    stages.push_back(register_module(
        "stage" + std::to_string(i), stage_of(this->options, i)));
  }
  norm = register_module("norm", torch::nn::BatchNorm2d(widths.back()));
  classifier = register_module(
      "classifier", torch::nn::Linear(widths.back(), this->options.classes()));
}

Tensor RevNetImpl::forward(const Tensor& x) {
  TORCHREV_CHECK(
      ValueError,
      x.dim() == 4 && x.size(1) == options.in_channels(),
      "nn::RevNet",
      c10::str("`x` to be of shape [N, ", options.in_channels(), ", H, W]"),
      c10::str(x.sizes()));
  auto y = stem->forward(x);
  for (std::size_t i = 0; i < stages.size(); ++i) {
    if (i > 0) {
      y = downs[i - 1]->forward(y);  // [N, widths[i], H / 2^i, W / 2^i]
    }
    y = stages[i]->forward(y);
  }
  y = norm->forward(y).relu().mean({2, 3});  // [N, widths.back()]
  return classifier->forward(y);
}

std::shared_ptr<torch::nn::Module> RevNetImpl::clone(
    const torch::optional<c10::Device>& device) const {
  auto copy = std::make_shared<RevNetImpl>(*this);
  const auto own = [&](const std::string& name, auto& child) {
    child = copy->replace_module(name, detail::clone_of(child, device));
  };
  own("stem", copy->stem);
  for (std::size_t i = 0; i < stages.size(); ++i) {
    if (i > 0) {
      own("down" + std::to_string(i), copy->downs[i - 1]);
    }
    own("stage" + std::to_string(i), copy->stages[i]);
  }
  own("norm", copy->norm);
  own("classifier", copy->classifier);
  return copy;
}

void RevNetImpl::clone_(
    torch::nn::Module& other, const torch::optional<c10::Device>& device) {
  detail::become_clone(*this, other, device);
}

void RevNetImpl::pretty_print(std::ostream& stream) const {
  stream << "torchrev::nn::RevNet(depths=" << at::IntArrayRef(options.depths())
         << ", widths=" << at::IntArrayRef(options.widths())
         << ", block=" << options.block() << ", classes=" << options.classes()
         << ")";
}

}  // namespace nn
}  // namespace torchrev
