#include <torchrev/nn/lsh_attention.h>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "check.h"
#include "nn/lsh_rounds.h"
#include "nn/reformer_options.h"

// Letters of shapes: B = N H sequences, R rounds, C chunks of M positions each,
// T = C M positions, D and E widths of a head.

namespace torchrev {
namespace nn {
namespace functional {

namespace {

constexpr auto kEntry = "nn::functional::lsh_attention";

// The bucket of padding, behind all others.
constexpr auto kLast = std::numeric_limits<int64_t>::max();

void check_buckets(const Tensor& qk, const Tensor& buckets) {
  TORCHREV_CHECK(
      TypeError,
      at::isIntegralType(buckets.scalar_type(), /*includeBool=*/false),
      kEntry,
      "`buckets` to be of an integer type",
      c10::str(buckets.scalar_type()));
  TORCHREV_CHECK(
      ValueError,
      buckets.dim() == 4 && buckets.size(0) == qk.size(0) &&
          buckets.size(1) == qk.size(1) && buckets.size(2) > 0 &&
          buckets.size(3) == qk.size(2),
      kEntry,
      c10::str("`buckets` to be [N, H, rounds, T] of `qk` ", qk.sizes()),
      c10::str(buckets.sizes()),
      "See lsh_buckets.");
}

void check(
    const Tensor& qk,
    const Tensor& v,
    const Tensor& buckets,
    int64_t chunk_length,
    const Tensor& padding) {
  TORCHREV_CHECK(
      TypeError,
      qk.is_floating_point() && v.scalar_type() == qk.scalar_type(),
      kEntry,
      "`qk` and `v` of one floating point dtype",
      c10::str(qk.scalar_type(), " and ", v.scalar_type()));
  TORCHREV_CHECK(
      ValueError,
      qk.dim() == 4 && v.dim() == 4 &&
          qk.sizes().slice(0, 3) == v.sizes().slice(0, 3),
      kEntry,
      "`qk` [N, H, T, D] and `v` [N, H, T, E]",
      c10::str(qk.sizes(), " and ", v.sizes()));
  TORCHREV_CHECK(
      ValueError,
      chunk_length >= 1,
      kEntry,
      "`chunk_length` to be at least 1",
      c10::str(chunk_length));
  check_buckets(qk, buckets);
  detail::check_padding(
      kEntry, padding, "qk", qk.sizes(), qk.size(0), qk.size(2));
}

// What a round of hashing gives.
struct Result {
  Tensor y;        // [B, T, E]
  Tensor log_sum;  // [B, T, 1], of exp(scores): the weight of y
};

// q, k [B, T, D], v [B, T, E].
Result attend_in_round(
    const Tensor& q,
    const Tensor& k,
    const Tensor& v,
    const detail::LSHRounds& rounds,
    int64_t round,
    bool causal) {
  auto scores = rounds.chunks(round, q).matmul(
      rounds.windows(round, k).transpose(-2, -1));  // [B, C, M, W]
  scores.add_(rounds.bias(round, causal));
  const auto p = scores.softmax(-1);
  const auto y = rounds.unsort(round, p.matmul(rounds.windows(round, v)));
  if (rounds.count() == 1) {
    return {y, {}};
  }
  // The logarithm of the sum, off any one of them: logsumexp would keep all
  // scores for backward, besides p. (And so would gather.)
  const auto top = scores.argmax(-1).flatten();  // [B T]
  const auto rows = at::arange(top.size(0), top.options());
  const auto at_top = [&](const Tensor& x) {
    return x.flatten().index_select(0, rows * x.size(-1) + top);
  };
  const auto log_sum = (at_top(scores) - at_top(p).log())
                           .view(y.sizes().slice(0, 2))
                           .unsqueeze(-1);
  return {y, rounds.unsort(round, log_sum.unflatten(1, {-1, 1}))};
}

// qk [B, T, D], v [B, T, E] -> [B, T, E].
Tensor attend(
    const Tensor& qk,
    const Tensor& v,
    const detail::LSHRounds& rounds,
    bool causal) {
  const auto k = qk / qk.norm(2, -1, /*keepdim=*/true)
                          .clamp_min(std::numeric_limits<float>::epsilon());
  std::vector<Tensor> results, log_sums;
  for (int64_t round = 0; round < rounds.count(); ++round) {
    const auto [y, log_sum] = attend_in_round(qk, k, v, rounds, round, causal);
    results.push_back(y);
    log_sums.push_back(log_sum);
  }
  if (rounds.count() == 1) {
    return results[0];
  }
  return (at::stack(results) * at::stack(log_sums).softmax(0)).sum(0);
}

// `x` with `missing` zeros behind it along dimension `dim`.
Tensor lengthened(const Tensor& x, int64_t dim, int64_t missing) {
  if (missing == 0) {
    return x;
  }
  std::vector<int64_t> pad(2 * (x.dim() - dim));  // the last dimension first
  pad.back() = missing;
  return at::constant_pad_nd(x, pad);
}

// [N, T] -> [B, T + missing], true also for what is missing; undefined where
// nothing is padding.
Tensor mask_of(const Tensor& qk, const Tensor& padding, int64_t missing) {
  if (!padding.defined() && missing == 0) {
    return padding;
  }
  const auto given =
      padding.defined()
          ? padding
          : at::zeros({qk.size(0), qk.size(2)}, qk.options().dtype(at::kBool));
  return at::constant_pad_nd(given, {0, missing}, 1)
      .unsqueeze(1)
      .expand({-1, qk.size(1), -1})
      .flatten(0, 1);
}

}  // namespace

Tensor lsh_buckets(const Tensor& x, const Tensor& rotations) {
  TORCHREV_CHECK(
      ValueError,
      x.dim() >= 2 && rotations.dim() == 3 && rotations.size(0) > 0 &&
          rotations.size(1) == x.size(-1) && rotations.size(2) > 0,
      "nn::functional::lsh_buckets",
      "`rotations` to be [rounds, D, buckets / 2] for `x` [*, T, D]",
      c10::str(rotations.sizes(), " for ", x.sizes()));
  const at::NoGradGuard no_grad;
  std::vector<Tensor> rounds;
  for (const auto& rotation : rotations.unbind(0)) {
    const auto projected = x.matmul(rotation);  // [*, T, buckets / 2]
    const auto [high, argmax] = projected.max(-1);
    const auto [low, argmin] = projected.min(-1);
    rounds.push_back(
        at::where(high >= -low, argmax, argmin + rotation.size(-1)));
  }
  return at::stack(rounds, -2);
}

Tensor lsh_attention(
    const Tensor& qk,
    const Tensor& v,
    const Tensor& buckets,
    int64_t chunk_length,
    bool causal,
    const Tensor& padding) {
  check(qk, v, buckets, chunk_length, padding);
  if (v.numel() == 0) {
    return v.clone();
  }
  const auto length = qk.size(2);
  const auto chunk = std::min(chunk_length, length);
  const auto missing = (chunk - length % chunk) % chunk;
  const auto mask = mask_of(qk, padding, missing);
  const detail::LSHRounds rounds(
      mask.defined() ? lengthened(buckets.flatten(0, 1), 2, missing)
                           .to(at::kLong)
                           .masked_fill(mask.unsqueeze(1), kLast)
                     : buckets.flatten(0, 1),
      chunk,
      mask,
      qk.scalar_type());
  const auto y = attend(
      lengthened(qk.flatten(0, 1), 1, missing),
      lengthened(v.flatten(0, 1), 1, missing),
      rounds,
      causal);
  return y.slice(1, 0, length).unflatten(0, {qk.size(0), qk.size(1)});
}

}  // namespace functional
}  // namespace nn
}  // namespace torchrev
