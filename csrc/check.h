#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>
#include <torchrev/options.h>
#include <torchrev/step_id.h>

#include <ostream>
#include <string>

// Checks, each made once: of arguments at the public entries, of what a branch
// returns right after it ran.

namespace torchrev {
namespace detail {

// The text of an error: `torchrev::<entry>: expected <expected>, but got <got>.
// <way out>`.
std::string message(
    const std::string& entry,
    const std::string& expected,
    const std::string& got,
    const std::string& way_out = "");

// Throws c10::<type> unless `condition` holds. What follows the condition are
// the arguments of message(), evaluated only for a message.
//
//   TORCHREV_CHECK(
//       ValueError, size > 0, entry, "at least one block", "an empty list");
#define TORCHREV_CHECK(type, condition, ...) \
  TORCH_CHECK_WITH(type, (condition), ::torchrev::detail::message(__VA_ARGS__))

// What a message is about: a step of a stack, or else what `what` says.
struct Place {
  const char* entry;
  torch::optional<StepId> step = torch::nullopt;
  const char* what = "the branch";
};
std::ostream& operator<<(std::ostream& stream, const Place& place);

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

void check_input_unchanged(const Place& place, bool unchanged);

// What a branch, which is to give a tensor of `sizes`, returned for `x`.
void check_branch_output(
    const Place& place,
    const Tensor& x,
    at::IntArrayRef sizes,
    const Tensor& out);

}  // namespace detail
}  // namespace torchrev
