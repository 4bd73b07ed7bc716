#pragma once

#include <torchrev/options.h>

#include <limits>
#include <string>

// The one list of options. Checks, keywords of operators, keys of plans and
// what modules print are made from it: an option that is added here is in all
// of them.

namespace torchrev {
namespace detail {

// The numbers that an option takes: those from `least` on, or, if that is
// excluded, those above it. An option that is none is in every range.
struct OptionRange {
  double least = -std::numeric_limits<double>::infinity();
  bool excluded = false;

  bool holds(double value) const {
    return excluded ? value > least : value >= least;
  }
};

// To add an option: its line here and its TORCH_ARG in options.h. An option of
// a new type needs an overload for that type in options.cpp (what is printed),
// ops/arguments.cpp (keyword and value) and measure/plan_key.cpp.
//
// Calls visit(name, get, range) for each option, where get(options) is a
// reference to its value.
template <typename Visit>
void visit_options(const Visit& visit) {
#define TORCHREV_VISIT_OPTION(name, ...)                     \
  visit(                                                     \
      #name,                                                 \
      [](auto& options) -> auto& { return options.name(); }, \
      OptionRange{__VA_ARGS__})
  TORCHREV_VISIT_OPTION(streams);
  TORCHREV_VISIT_OPTION(preserve_rng_state);
  TORCHREV_VISIT_OPTION(save_every, 0);
  TORCHREV_VISIT_OPTION(store_last, 0);
  TORCHREV_VISIT_OPTION(chunks_f, 1);
  TORCHREV_VISIT_OPTION(chunks_g, 1);
  TORCHREV_VISIT_OPTION(chunk_dim);
  TORCHREV_VISIT_OPTION(stream_dtype);
  TORCHREV_VISIT_OPTION(fraction_bits, 0);
  TORCHREV_VISIT_OPTION(drift_tolerance, 0, /*excluded=*/true);
  TORCHREV_VISIT_OPTION(coupling);
  TORCHREV_VISIT_OPTION(mutable_buffers);
  TORCHREV_VISIT_OPTION(verify_constant_buffers);
  TORCHREV_VISIT_OPTION(verify_first_call);
#undef TORCHREV_VISIT_OPTION
}

// The option `name`.
void check_at_least(
    const char* entry, const char* name, int64_t least, int64_t value);

// What can be said of options without a tensor.
void check_options(const char* entry, const ReversibleOptions& options);

// What of `options` depends on `x`, an input of the call.
void check_streams_options(
    const char* entry, const ReversibleOptions& options, const Tensor& x);

// That `blocks` of a stack can be inverted.
void check_invertible(
    const char* entry, const ReversibleOptions& options, int64_t blocks);

// As its pretty_print does.
std::string printed(const Coupling& coupling);

// "split(dim=-1)", and what else differs from the defaults: ", save_every=2".
std::string printed(const ReversibleOptions& options);

}  // namespace detail
}  // namespace torchrev
