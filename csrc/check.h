#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/options.h>

#include <ostream>

// Argument checks, made once at the public entries. Messages read
// `torchrev::<entry>: expected <condition>, but got <value>. <way out>`.

namespace torchrev {
namespace detail {

// A broken invariant of the library, as opposed to a mistake of its user.
#define TORCHREV_INVARIANT(condition, what) \
  TORCH_CHECK(condition, "torchrev: internal invariant broken: ", what)

// The option `name`.
void check_at_least(
    const char* entry, const char* name, int64_t least, int64_t value);
void check_options(const char* entry, const ReversibleOptions& options);
// What of `options` depends on `x`, an input of the call, and on the number of
// blocks that have to be invertible.
void check_streams_options(
    const char* entry, const ReversibleOptions& options, const Tensor& x);
void check_invertible(
    const char* entry, const ReversibleOptions& options, int64_t blocks);
void check_blocks(const char* entry, std::size_t size);

// Both streams: defined, floating point, dense, of one shape, dtype, device.
void check_streams(
    const char* entry,
    const char* name1,
    const Tensor& x1,
    const char* name2,
    const Tensor& x2);

// Chunks of the stream `x`.
void check_chunks(
    const char* entry, const ReversibleOptions& options, const Tensor& x);

// One tensor that becomes two streams.
void check_residual(
    const char* entry,
    const char* name,
    const Tensor& x,
    const Streams& streams);

// The step of a call that a message is about; prints as "F of block 3".
struct Place {
  const char* entry;
  int64_t step;
};
std::ostream& operator<<(std::ostream& stream, const Place& place);

void check_input_unchanged(const Place& place, bool unchanged);

// What a branch, which is to give a tensor of `sizes`, returned for `x`.
void check_branch_output(
    const Place& place,
    const Tensor& x,
    at::IntArrayRef sizes,
    const Tensor& out);

// Bits of the fraction of a floating point number.
int64_t mantissa_bits(at::ScalarType dtype);

}  // namespace detail
}  // namespace torchrev
