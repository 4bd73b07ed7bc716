#include "lsh_places.h"

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

// x[b, rows[b, ...]] for x [B, T, *], rows [B, ...] -> [B, ..., *].
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

Tensor with_look_back(const Tensor& chunks) {
  return chunks.size(2) == 1 ? chunks : at::cat({chunks.roll(1, 2), chunks}, 3);
}

LSHPlaces::LSHPlaces(
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

Tensor LSHPlaces::sort(const Tensor& x) const {
  return take_rows(x, order_);
}

Tensor LSHPlaces::unsort(const Tensor& sorted) const {
  const auto rounds = sorted.size(1);
  const auto offset =
      at::arange(rounds, place_.options()).unsqueeze(1) * place_.size(-1);
  return take_rows(sorted.flatten(1, 3), place_ + offset);
}

// With c the number of a chunk, a round brings them together if c(query) -
// c(key) is 0 or 1: then |c(query) - 1/2 - c(key)| is 1/2, else at least 3/2.
// (In floats, for which these operations are vectorised.)
Tensor LSHPlaces::rounds_together() const {
  const auto chunk_of = place_.div(order_.size(-1), "floor").to(floats_);
  Tensor apart;
  for (int64_t round = 0; round < place_.size(1); ++round) {
    const auto chunk = sort(chunk_of.select(1, round));
    const auto distance =
        ((chunk - 0.5).unsqueeze(-1) - with_look_back(chunk).unsqueeze(-2))
            .abs_()
            .clamp_max_(1.5);
    apart = apart.defined() ? apart.add_(distance) : distance;
  }
  return apart.neg_().add_(1.5 * double(place_.size(1)));
}

// Of keys alone, [B, R, C, 1, M or 2 M]; undefined if all may be attended to.
Tensor LSHPlaces::bias_of_keys() const {
  const auto chunks = order_.size(2);
  if (chunks == 1 && !padding_.defined()) {
    return {};
  }
  auto bias = with_look_back(
      padding_.defined() ? sort(padding_).to(floats_).mul_(kNever)
                         : at::zeros(order_.sizes(), floats_));
  if (chunks > 1) {  // there is nothing before the first chunk
    bias.select(2, 0).slice(-1, 0, order_.size(-1)).fill_(kNever);
  }
  return bias.unsqueeze(-2);
}

Tensor LSHPlaces::bias(bool causal) const {
  const at::NoGradGuard no_grad;
  const auto length = order_.size(-1);
  const auto keys = order_.size(2) == 1 ? length : 2 * length;
  auto sizes = order_.sizes().vec();
  sizes.push_back(keys);
  // A key that several rounds offer counts once.
  auto bias = order_.size(1) == 1
                  ? at::zeros(sizes, floats_)
                  : rounds_together().clamp_min_(1).log_().neg_();
  if (causal) {
    const auto position = order_.to(floats_);
    bias.sub_((with_look_back(position).unsqueeze(-2) - position.unsqueeze(-1))
                  .clamp_min_(0)
                  .mul_(-kNever));
  }
  if (const auto of_keys = bias_of_keys(); of_keys.defined()) {
    bias.add_(of_keys);
  }
  bias.slice(-1, keys - length).diagonal(0, -2, -1).fill_(kSelf);
  return bias;
}

}  // namespace detail
}  // namespace torchrev
