#include "recompute/random_state.h"

#include <algorithm>
#include <mutex>

#include "device/capabilities.h"

namespace torchrev {
namespace detail {

namespace {

GeneratorState state_of(at::Generator generator) {
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return GeneratorState::of(generator);
}

bool stands_at(at::Generator generator, const GeneratorState& state) {
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return state.is_of(generator);
}

void set(at::Generator generator, const GeneratorState& state) {
  const std::lock_guard<std::mutex> lock(generator.mutex());
  state.set(generator);
}

}  // namespace

// A state is 2.5 KiB: it is read into its place, not copied there.
RandomState::RandomState(at::ArrayRef<c10::Device> devices)
    : cpu_(state_of(at::detail::getDefaultCPUGenerator())) {
  for (const auto& device : devices) {
    const auto generator = default_generator(device);
    devices_.emplace_back(generator, state_of(generator));
  }
}

RandomState RandomState::capture(at::ArrayRef<c10::Device> devices) {
  return RandomState(devices);
}

bool RandomState::is_current() const {
  return stands_at(at::detail::getDefaultCPUGenerator(), cpu_) &&
         std::all_of(devices_.begin(), devices_.end(), [](const auto& item) {
           return stands_at(item.first, item.second);
         });
}

void RandomState::restore() const {
  set(at::detail::getDefaultCPUGenerator(), cpu_);
  for (const auto& item : devices_) {
    set(item.first, item.second);
  }
}

bool RandomState::operator==(const RandomState& other) const {
  return cpu_ == other.cpu_ &&
         std::equal(
             devices_.begin(),
             devices_.end(),
             other.devices_.begin(),
             other.devices_.end(),
             [](const auto& a, const auto& b) { return a.second == b.second; });
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
