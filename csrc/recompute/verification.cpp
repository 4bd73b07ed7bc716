#include "recompute/verification.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>

#include <chrono>
#include <cmath>
#include <exception>
#include <thread>
#include <utility>

#include "recompute/graph_mode.h"
#include "recompute/interception.h"
#include "recompute/recorded_branch.h"
#include "tensors.h"

namespace torchrev {
namespace detail {

namespace {

thread_local bool without_verification = false;

// How often a branch runs in a first call while another thread draws.
constexpr int kAttempts = 8;

constexpr Replay::Shares kSharingNothing{/*draws=*/false, /*buffers=*/false};
constexpr Replay::Shares kSharingDraws{/*draws=*/true, /*buffers=*/false};
constexpr Replay::Shares kSharingAll{/*draws=*/true, /*buffers=*/true};

using Clock = std::chrono::steady_clock;

// A stranger who draws at regular times may move the generator just as far in
// each run, but does not rest where nothing runs.
bool nobody_draws_for(Clock::duration time, const RandomState& now) {
  std::this_thread::sleep_for(time);
  return !now.was_moved();
}

}  // namespace

WithoutVerification::WithoutVerification() : outer_(without_verification) {
  without_verification = true;
}

WithoutVerification::~WithoutVerification() {
  without_verification = outer_;
}

bool WithoutVerification::is_active() {
  return without_verification;
}

bool gave_the_same(const Tensor& value, const Tensor& again, bool rounds) {
  const at::NoGradGuard no_grad;
  if (!again.defined() || value.sizes() != again.sizes() ||
      value.scalar_type() != again.scalar_type() ||
      value.device() != again.device()) {
    return false;
  }
  if (value.is_meta()) {
    return true;
  }
  if (value.device().is_cpu() && !rounds) {
    return at::equal(value, again) ||
           // Not a number, where both are.
           (at::equal(value.isnan(), again.isnan()) &&
            at::equal(value.nan_to_num(), again.nan_to_num()));
  }
  const auto rounding =
      std::exp2(-0.5 * static_cast<double>(mantissa_bits(value.scalar_type())));
  return value.numel() == 0 || value.allclose(
                                   again,
                                   rounding,
                                   rounding * value.abs().max().item<double>(),
                                   /*equal_nan=*/true);
}

void check_gave_the_same(const Place& place, bool same) {
  TORCHREV_CHECK(
      ValueError,
      same,
      place.entry,
      c10::str(place, " to give the same when it runs again, as backward does"),
      "another result for the same input (seen at its first call)",
      "It depends on something that cannot be put back: a member that forward "
      "changes (make it a registered buffer), a generator of its own (draw "
      "from the default one), a clock, what a function captures (hand it over "
      "as context), numbers that another thread draws meanwhile. "
      "verify_first_call(false) turns this check off.");
}

// First with numbers and buffers of its own, then with those that all share,
// where the call left a sign that operators do not reach all.
void RecordedBranch::verify(
    const Call& call, const Tensor& x, Tensor& value, BranchFacts::Seen& seen) {
  const auto& record = call.record;
  const bool last = !record.has_other_draws() && !record.changed_buffers();
  Repetition own;
  if (!seen.writes_buffers_directly) {
    own = repeat_with_own(call, x, value, last, seen);
  }
  if (own.is_clear || last) {
    seen.verified = own.same;
    check_gave_the_same(place_, own.same || own.drew_anew);
    return;
  }
  if (own.same) {
    seen.verified = true;
    seen.draws_directly = draws_directly(call, x, value, seen);
  } else {
    const auto shared =
        repeat(call, x, value, kSharingAll, /*last=*/true, seen);
    seen.verified = shared.same;
    seen.draws_directly = shared.same && record.has_other_draws();
    seen.writes_buffers_directly |= record.changed_buffers();
    check_gave_the_same(place_, shared.same || shared.drew_anew);
  }
  if (seen.draws_directly) {
    // The replay with numbers of its own drew from there, too.
    record.set_generators_after();
  }
}

// Where somebody moves the default generators, another thread, or the branch,
// that it gives the same once may be chance.
RecordedBranch::Repetition RecordedBranch::repeat_with_own(
    const Call& call,
    const Tensor& x,
    Tensor& value,
    bool last,
    BranchFacts::Seen& seen) {
  Repetition result;
  for (int i = 0; i < kAttempts; ++i) {
    result = repeat(call, x, value, kSharingNothing, last, seen);
    result.is_clear =
        result.same && !(call.record.has_other_draws() && result.moved);
    if (!result.same || result.is_clear) {
      break;
    }
  }
  return result;
}

bool RecordedBranch::draws_directly(
    const Call& call, const Tensor& x, Tensor value, BranchFacts::Seen seen) {
  bool as_recorded = true;
  for (int i = 0; i < kAttempts && as_recorded; ++i) {
    const auto start = Clock::now();
    const auto again =
        repeat(call, x, value, kSharingDraws, /*last=*/false, seen);
    as_recorded =
        again.same && again.drew_as_recorded &&
        nobody_draws_for(Clock::now() - start, call.record.generators());
  }
  return as_recorded;
}

// Operators are given aliases of the parameters, which belong to the graph.
bool RecordedBranch::leaves_a_graph(const Call& call, const Tensor& x) {
  const at::AutoGradMode grad_mode(true);
  std::weak_ptr<void> life;
  try {
    LocalGraph graph{LocalGraph::Dropped()};
    life = graph.life();
    std::vector<LocalGraph::Handle> unused;
    const auto arguments = enter(graph, context_, {}, unused);
    variable_list aliases;
    for (const auto& tensor : parameters_) {
      aliases.push_back(
          tensor.requires_grad() ? graph.enter(tensor, {}).alias : tensor);
    }
    Interception::Parts parts;
    parts.parameters = &parameters_;
    parts.aliases = aliases;
    const Interception aliasing(parts);
    Repetition ignored;
    replay_first_call(
        call, graph.enter(x, {}).alias, arguments, kSharingNothing, ignored);
  } catch (const std::exception&) {
    // verify() tells what it is.
    return true;
  }
  return !life.expired();
}

Tensor RecordedBranch::replay_first_call(
    const Call& call,
    const Tensor& x,
    const Arguments& arguments,
    const Replay::Shares& shares,
    Repetition& result) {
  const auto before = call.record.generators();
  Replay replay(call.record, shares);
  auto again = replay(x, arguments.context, arguments.parameters);
  result.moved |= before.was_moved();
  result.drew_anew =
      !call.record.preserves_rng() && !(before == call.record.generators());
  result.drew_as_recorded = replay.drew_as_recorded();
  return again;
}

// `last`: what it throws is not held back. Notes in `seen` whether the branch
// needs a graph.
RecordedBranch::Repetition RecordedBranch::repeat(
    const Call& call,
    const Tensor& x,
    Tensor& value,
    const Replay::Shares& shares,
    bool last,
    BranchFacts::Seen& seen) {
  Repetition result;
  // A parameter that was renormalised once may be, by a rounding, once more.
  const bool rounds = seen.writes_parameters;
  const auto replay = [&](const Tensor& x, const Arguments& arguments) {
    return replay_first_call(call, x, arguments, shares, result);
  };
  const bool needed_graph = seen.needs_graph;
  if (!needed_graph) {
    try {
      const WithoutGraph without;
      result.same =
          gave_the_same(value, replay(x, {context_, parameters_}), rounds);
    } catch (const std::exception&) {
      // Shows again below, if it is not for want of a graph.
    }
    if (result.same || result.drew_anew) {
      return result;
    }
    seen.needs_graph = true;
  }
  try {
    auto again = in_graph(x, replay).value;
    result.same = gave_the_same(value, again, rounds);
    if (!result.same && branch_->callable().needs_graph()) {
      // The executor of TorchScript optimises after a first run, and old
      // releases then draw in another order: what backward will see is the
      // value.
      result.same = gave_the_same(again, in_graph(x, replay).value, rounds);
      value = std::move(again);
    }
  } catch (const std::exception&) {
    if (last) {
      throw;
    }
  }
  if (!result.same) {
    seen.needs_graph = needed_graph;
  }
  return result;
}

}  // namespace detail
}  // namespace torchrev
