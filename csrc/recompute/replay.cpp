#include "recompute/replay.h"

#include <utility>

#include "recompute/interception.h"
#include "recompute/verification.h"

namespace torchrev {
namespace detail {

void Replay::Found::restore() const {
  PrivateBuffers::hide(shown);
  write_back(buffers);
  if (attributes) {
    attributes->restore(branch->callable());
  }
}

Replay::Replay(const CallRecord& record, torch::optional<Shares> shares)
    : record_(record),
      shares_draws_(
          record.moved_ && (shares ? shares->draws
                                   : !record.seen_ || !record.seen_->verified ||
                                         record.seen_->draws_directly)),
      shares_buffers_(
          !record.buffers_.copies().empty() &&
          (shares ? shares->buffers
                  : record.seen_ && record.seen_->writes_buffers_directly)),
      buffers_(shares_buffers_ ? BufferCopies() : record.buffers_.copies()) {
  record.buffers_.check_unchanged(record.place_);
  choose_attributes();
  shares_sizes_ = buffers_.are_resized() && !private_;
  if (shares_buffers_ || record.writes()) {
    order_ = std::make_unique<SharedWrites>(shared_memory());
  }
  if (shares_draws_ || shares_buffers_ || shares_attributes_ || shares_sizes_) {
    turn_ = std::make_unique<Turn>(record.place_);
    set_shared_state();
  }
  if (record.writes()) {
    parameters_ = std::make_unique<Restore<ParameterWrites>>(
        ParameterWrites(record.written_));
  }
}

// Of a TorchScript module, a copy gets those of the forward.
void Replay::choose_attributes() {
  auto& callable = record_.branch_.callable();
  const bool differ = (record_.seen_ && record_.seen_->changes_attributes) ||
                      !(record_.attributes_ == Attributes::of(callable));
  if (differ || buffers_.are_resized()) {
    auto values = record_.attributes_.separate();
    for (auto& value : values) {
      if (value.isTensor() && value.toTensor().defined()) {
        auto copy = buffers_.stand_in(value.toTensor());
        value = copy.defined() ? std::move(copy) : value;
      }
    }
    private_ = callable.with_attributes(values);
    shares_attributes_ = differ && !private_;
  }
}

std::vector<Tensor> Replay::shared_memory() const {
  std::vector<Tensor> memory;
  if (shares_buffers_) {
    for (const auto& copy : record_.buffers_.copies()) {
      memory.push_back(copy.buffer);
    }
  }
  for (const auto& write : record_.written_) {
    memory.push_back(write.parameter);
  }
  return memory;
}

void Replay::set_shared_state() {
  auto& callable = record_.branch_.callable();
  Found found{&record_.branch_, torch::nullopt, {}, {}};
  if (shares_attributes_) {
    found.attributes = Attributes::of(callable);
  }
  if (shares_buffers_) {
    found.buffers = copies_of(record_.buffers_.copies());
  }
  if (shares_sizes_) {
    found.shown = buffers_.show();
  }
  found_ = std::make_unique<Restore<Found>>(std::move(found));
  // Attributes first: a buffer is one where a module assigned another tensor to
  // its name.
  if (shares_attributes_) {
    record_.attributes_.set(callable);
  }
  if (shares_buffers_) {
    write_back(record_.buffers_.copies());
  }
}

template <typename Run>
Tensor Replay::with_shared_generators(const Run& run) {
  const Restore<RandomState> found(RandomState::capture(record_.devices_));
  record_.moved_->before.restore();
  DrawRecord draws;
  auto out = run(nullptr, &draws);
  const auto end = RandomState::capture(record_.devices_);
  // A call that was not watched has not told of its draws.
  const bool same_draws = record_.draws_.empty() || draws == record_.draws_;
  drew_as_recorded_ = same_draws && end == record_.moved_->after;
  // The call drew nothing if the recompute does not.
  TORCHREV_CHECK(
      ValueError,
      drew_as_recorded_ || (same_draws && end == record_.moved_->before),
      record_.place_.entry,
      c10::str(
          "the recompute of ", record_.place_, " to draw what forward did"),
      "other random numbers: another thread drew from the default generator "
      "while the branch ran",
      "Let no other thread draw meanwhile, or draw by operators "
      "(torch::bernoulli), whose numbers are told apart.");
  return out;
}

template <typename Run>
Tensor Replay::with_own_generators(const Run& run) {
  // A call that was not watched has not told what it drew.
  const bool unwatched = record_.moved_ && record_.draws_.empty();
  const DrawRecord assumed =
      unwatched ? DrawRecord(record_.moved_->before) : DrawRecord();
  OwnGenerators own(unwatched ? assumed : record_.draws_);
  const bool draws = unwatched || !record_.draws_.empty();
  auto out = run(draws ? &own : nullptr, nullptr);
  TORCHREV_CHECK(
      ValueError,
      !unwatched || own.stand_at(record_.moved_->after),
      record_.place_.entry,
      c10::str(
          "the recompute of ", record_.place_, " to draw what forward did"),
      "other random numbers: another thread drew while the branch, which had "
      "drawn nothing in earlier calls, ran",
      "Run the step again.");
  return out;
}

Tensor Replay::operator()(
    const Tensor& x, at::TensorList context, at::TensorList parameters) {
  // Backward runs outside the caller's autocast region, or in another one.
  const Restore<AutocastState> autocast_guard(AutocastState::capture());
  record_.autocast_.without_cache().restore();
  const WithoutVerification no_verification;
  ReplayScope scope(record_.decisions_);
  const auto run = [&](OwnGenerators* own, DrawRecord* draws) {
    Interception::Parts parts;
    parts.own = own;
    parts.record = draws;
    parts.buffers = &buffers_;
    const Interception interception(parts);
    auto& callable = private_ ? *private_ : record_.branch_.callable();
    return callable.forward(x, context, parameters);
  };
  auto out =
      shares_draws_ ? with_shared_generators(run) : with_own_generators(run);
  scope.check_complete();
  // Flags are for the run alone, and so is the turn.
  if (turn_ && !shares_buffers_) {
    found_.reset();
    turn_.reset();
  }
  return out;
}

}  // namespace detail
}  // namespace torchrev
