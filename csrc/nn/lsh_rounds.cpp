#include "nn/lsh_rounds.h"

#include <ATen/ExpandUtils.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <tuple>

namespace torchrev {
namespace detail {

namespace {

// Added to the score of a position with itself: nothing next to any other, and
// finite in every dtype, so that it counts where nothing else is left.
constexpr double kSelf = -5e4;
// Added to the score of what is not attended to: nothing next to kSelf.
constexpr double kNever = -1e30;

// x[b, rows[b, ...]] for x [B, T] or [B, T, D], rows [B, ...].
Tensor take_rows(const Tensor& x, const Tensor& rows) {
  const auto first = at::arange(x.size(0), rows.options()) * x.size(1);  // [B]
  const auto flat = (rows.flatten(1) + first.unsqueeze(1)).flatten();
  auto sizes = rows.sizes().vec();
  if (x.dim() == 2) {
    return x.flatten().index_select(0, flat).view(sizes);
  }
  sizes.push_back(x.size(2));
  // An index that is expanded along the last dimension moves whole rows.
  return x.flatten(0, 1)
      .gather(0, flat.unsqueeze(1).expand({-1, x.size(2)}))
      .view(sizes);
}

}  // namespace

LSHRounds::LSHRounds(
    const Tensor& buckets,
    int64_t chunk_length,
    const Tensor& padding,
    at::ScalarType dtype)
    : padding_(padding),
      floats_(buckets.options().dtype(
          dtype == at::kDouble ? at::kDouble : at::kFloat)) {
  const auto order =
      std::get<1>(buckets.sort(/*stable=*/true, /*dim=*/-1, false));
  const auto positions =
      at::arange(order.size(-1), order.options()).expand_as(order);
  place_ = at::empty_like(order).scatter_(-1, order, positions);
  order_ = order.unflatten(-1, {-1, chunk_length});
}

Tensor LSHRounds::window_of(int64_t round) const {
  const auto order = order_.select(1, round);
  return order.size(1) == 1 ? order : at::cat({order.roll(1, 1), order}, 2);
}

Tensor LSHRounds::chunks(int64_t round, const Tensor& x) const {
  return take_rows(x, order_.select(1, round));
}

Tensor LSHRounds::windows(int64_t round, const Tensor& x) const {
  return take_rows(x, window_of(round));
}

Tensor LSHRounds::unsort(int64_t round, const Tensor& sorted) const {
  return take_rows(sorted.flatten(1, 2), place_.select(1, round));
}

// How many rounds bring a query and a key of `round` together. With c the
// number of a chunk, a round does if c(query) - c(key) is 0 or 1: then
// |c(query) - 1/2 - c(key)| is 1/2, else at least 3/2. (In floats, for which
// these operations are vectorised.)
Tensor LSHRounds::rounds_together(int64_t round) const {
  const auto chunk_of = place_.div(order_.size(-1), "floor").to(floats_);
  Tensor apart;
  for (int64_t other = 0; other < count(); ++other) {
    const auto chunk = chunk_of.select(1, other);
    const auto distance = ((chunks(round, chunk) - 0.5).unsqueeze(-1) -
                           windows(round, chunk).unsqueeze(-2))
                              .abs_()
                              .clamp_max_(1.5);
    apart = apart.defined() ? apart.add_(distance) : distance;
  }
  return apart.neg_().add_(1.5 * double(count()));
}

// Of keys alone, [B, C, 1, W]; undefined if all may be attended to.
Tensor LSHRounds::bias_of_keys(int64_t round) const {
  const auto window = window_of(round);
  const auto chunk_length = order_.size(-1);
  if (window.size(-1) == chunk_length && !padding_.defined()) {
    return {};
  }
  auto bias = padding_.defined()
                  ? take_rows(padding_, window).to(floats_).mul_(kNever)
                  : at::zeros(window.sizes(), floats_);
  if (window.size(-1) > chunk_length) {  // nothing stands before the first
    bias.select(1, 0).slice(-1, 0, chunk_length).fill_(kNever);
  }
  return bias.unsqueeze(-2);
}

Tensor LSHRounds::bias(int64_t round, bool causal) const {
  const at::NoGradGuard no_grad;
  const auto query = order_.select(1, round).to(floats_).unsqueeze(-1);
  const auto key = window_of(round).to(floats_).unsqueeze(-2);
  // A key that several rounds offer counts once.
  auto bias =
      count() == 1
          ? at::zeros(at::infer_size(query.sizes(), key.sizes()), floats_)
          : rounds_together(round).clamp_min_(1).log_().neg_();
  if (causal) {
    bias.add_((key - query).clamp_min_(0).mul_(kNever));
  }
  if (const auto of_keys = bias_of_keys(round); of_keys.defined()) {
    bias.add_(of_keys);
  }
  const auto own = key.size(-1) - query.size(-2);
  bias.slice(-1, own).diagonal(0, -2, -1).fill_(kSelf);
  return bias;
}

}  // namespace detail
}  // namespace torchrev
