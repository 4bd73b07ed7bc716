#include "plain.h"

#include "support/oracle.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

thread_local Way way_within = Way::kReversible;

std::vector<Tensor> list(const std::tuple<Tensor, Tensor>& y) {
  return {std::get<0>(y), std::get<1>(y)};
}

}  // namespace

Within::Within(Way way) : outer_(way_within) {
  way_within = way;
}

Within::~Within() {
  way_within = outer_;
}

Way Within::way() {
  return way_within;
}

std::vector<Tensor> PlainStack::streams(
    const Tensor& x1,
    const Tensor& x2,
    const std::vector<Tensor>& context) const {
  const auto stack =
      inverse ? plain_inverse(blocks, options) : plain(blocks, options);
  return list(stack({x1, x2, context}));
}

Tensor PlainStack::residual(
    const Tensor& x, const std::vector<Tensor>& context) const {
  const auto dtype = x.scalar_type();
  const auto run = [&](const Tensor& x1, const Tensor& x2) {
    return list(plain_streams(blocks, options)({x1, x2, context}));
  };
  const auto& streams = options.streams();
  switch (streams.kind) {
    case Streams::Kind::kDuplicate: {
      const auto y = run(x, x);
      return ((y[0] + y[1]) / 2).to(dtype);
    }
    case Streams::Kind::kVelocity:
      return run(torch::zeros_like(x), x)[1].to(dtype);
    default: {
      const auto halves = x.chunk(2, streams.dim);
      const auto y = inverse ? this->streams(halves[0], halves[1], context)
                             : run(halves[0], halves[1]);
      return at::cat(y, streams.dim).to(dtype);
    }
  }
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
