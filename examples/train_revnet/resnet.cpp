#include "resnet.h"

#include <string>

namespace train_revnet {
namespace {

using torchrev::nn::ResidualBlock;
using torchrev::nn::ResidualBlockOptions;

torch::nn::Sequential stage_of(
    const torchrev::nn::RevNetOptions& options, std::size_t i) {
  const auto width = options.widths()[i];
  torch::nn::Sequential stage;
  for (int64_t block = 0; block < options.depths()[i] / 2; ++block) {
    stage->push_back(ResidualBlock(
        ResidualBlockOptions(width, width).block(options.block())));
  }
  return stage;
}

}  // namespace

ResNetImpl::ResNetImpl(const torchrev::nn::RevNetOptions& options) {
  const torchrev::nn::RevNet pieces(options);
  stem_ = register_module("stem", pieces->stem);
  for (std::size_t i = 0; i < options.depths().size(); ++i) {
    if (i > 0) {
      downs_.push_back(
          register_module("down" + std::to_string(i), pieces->downs[i - 1]));
    }
    stages_.push_back(
        register_module("stage" + std::to_string(i), stage_of(options, i)));
  }
  norm_ = register_module("norm", pieces->norm);
  classifier_ = register_module("classifier", pieces->classifier);
}

torch::Tensor ResNetImpl::forward(const torch::Tensor& x) {
  auto y = stem_->forward(x);
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    if (i > 0) {
      y = downs_[i - 1]->forward(y);
    }
    y = stages_[i]->forward(y);
  }
  y = norm_->forward(y).relu().mean({2, 3});
  return classifier_->forward(y);
}

}  // namespace train_revnet
