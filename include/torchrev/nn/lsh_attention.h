#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/export.h>

#include <cstdint>

namespace torchrev {

using at::Tensor;

namespace nn {
namespace functional {

/// Hashes vectors by their angle: with a random rotation R of each round,
///   bucket(x) = argmax [x R, -x R],
/// so that vectors that point alike are likely to share a bucket.
///
/// @param x [*, T, D], floating point.
/// @param rotations [rounds, D, buckets / 2], in the dtype of `x`.
/// @return [*, rounds, T], int64, in [0, buckets). Carries no gradient.
/// @throws c10::ValueError for shapes that do not agree.
/// Reference: Kitaev et al., "Reformer: The Efficient Transformer", 2020,
///            section 2; Andoni et al., "Practical and Optimal LSH for Angular
///            Distance", 2015.
TORCHREV_API Tensor lsh_buckets(const Tensor& x, const Tensor& rotations);

/// Attention of each position to those that hashing put near it:
///   y_i = sum_{j in S_i} p_ij v_j,   p_i = softmax_{j in S_i} (q_i . k_j),
///   k_j = q_j / |q_j|.
///
/// In each round positions are sorted by bucket, and by position within a
/// bucket, padding last; the sorted ones are cut into chunks of `chunk_length`.
/// S_i holds the positions that share in some round the chunk of i, or stand in
/// the chunk before it; a position that several rounds find counts once. S_i
/// leaves out the positions after i (if `causal`), the positions that `padding`
/// marks, and i itself, unless nothing else is left.
///
/// Memory grows as rounds * T * chunk_length, and so does time (but for telling
/// how many rounds share a key, rounds times as much, of operations that are
/// cheap); full attention grows as T^2. With 2 T / chunk_length buckets,
/// hashing adds T^2 D / chunk_length operations a round, and T^2 / chunk_length
/// numbers for a moment: less than the rest up to some ten thousand positions.
/// If T is no multiple of `chunk_length`, positions that nothing attends to are
/// added inside, and taken off again; if T is less, there is one chunk of T
/// positions, and this is full attention (but for i itself).
///
/// @param qk [N, H, T, D], queries, and after normalisation keys.
/// @param v [N, H, T, E].
/// @param buckets [N, H, rounds, T], of an integer type; see lsh_buckets.
/// @param chunk_length at least 1.
/// @param padding [N, T], bool, true where there is padding; or undefined.
/// @return [N, H, T, E].
///
/// Gradients: qk and v, double backward included.
/// @throws c10::ValueError for shapes that do not agree, or a `chunk_length`
///         below 1; c10::TypeError for other dtypes than named here, or `qk`
///         and `v` of different ones.
/// Reference: Kitaev et al., "Reformer: The Efficient Transformer", 2020,
///            equations (2) to (6) and appendix A.
///
/// Example:
/// ```
/// auto rotations = torch::randn({/*rounds=*/4, 64, /*buckets / 2=*/32});
/// auto y = torchrev::nn::functional::lsh_attention(
///     qk, v, torchrev::nn::functional::lsh_buckets(qk, rotations), 64);
/// ```
TORCHREV_API Tensor lsh_attention(
    const Tensor& qk,
    const Tensor& v,
    const Tensor& buckets,
    int64_t chunk_length,
    bool causal = false,
    const Tensor& padding = {});

}  // namespace functional
}  // namespace nn
}  // namespace torchrev
