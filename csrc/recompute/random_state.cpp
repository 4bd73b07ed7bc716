#include "recompute/random_state.h"

#include <algorithm>
#include <utility>

#include "device/capabilities.h"
#include "recompute/generator_moves.h"

namespace torchrev {
namespace detail {

// A state is 2.5 KiB: it is read into its place, not copied there.
RandomState::Position::Position(at::Generator of)
    : Position(of, std::lock_guard<std::mutex>(of.mutex())) {}

RandomState::Position::Position(
    at::Generator of, const std::lock_guard<std::mutex>& /*lock*/)
    : generator(std::move(of)),
      state(GeneratorState::of(generator)),
      other_moves(GeneratorMoves::of(generator).others(state)) {}

bool RandomState::Position::was_moved() const {
  auto current = generator;
  const std::lock_guard<std::mutex> lock(current.mutex());
  return GeneratorMoves::of(current).others(GeneratorState::of(current)) !=
         other_moves;
}

void RandomState::Position::restore() const {
  auto current = generator;
  const std::lock_guard<std::mutex> lock(current.mutex());
  GeneratorMoves::of(current).note(GeneratorState::of(current), state);
  state.set(current);
}

RandomState::RandomState(at::ArrayRef<c10::Device> devices)
    : cpu_(at::detail::getDefaultCPUGenerator()) {
  for (const auto& device : devices) {
    devices_.emplace_back(default_generator(device));
  }
}

RandomState RandomState::capture(at::ArrayRef<c10::Device> devices) {
  return RandomState(devices);
}

bool RandomState::was_moved() const {
  return cpu_.was_moved() ||
         std::any_of(
             devices_.begin(), devices_.end(), [](const Position& position) {
               return position.was_moved();
             });
}

void RandomState::restore() const {
  cpu_.restore();
  for (const auto& position : devices_) {
    position.restore();
  }
}

bool RandomState::operator==(const RandomState& other) const {
  return cpu_.state == other.cpu_.state &&
         std::equal(
             devices_.begin(),
             devices_.end(),
             other.devices_.begin(),
             other.devices_.end(),
             [](const Position& a, const Position& b) {
               return a.state == b.state;
             });
}

std::vector<c10::Device> devices_drawn_from(
    const Branch& branch, const Tensor& x) {
  std::vector<c10::Device> devices;
  const auto add = [&devices](const Tensor& tensor) {
    const auto device = tensor.device();
    if (has_generator(device) &&
        std::find(devices.begin(), devices.end(), device) == devices.end()) {
      devices.push_back(device);
    }
  };
  if (x.device().is_cpu()) {
    // A branch that is offloaded may draw on any accelerator.
    return generators_in_use();
  }
  // A replica of a model has a thread and a device: the generators of other
  // devices are those of other threads.
  add(x);
  for (const auto& parameter : branch.parameters()) {
    add(parameter);
  }
  return devices;
}

}  // namespace detail
}  // namespace torchrev
