#include "recompute/random_state.h"

#include <ATen/Context.h>
#include <ATen/ops/equal.h>

#include <algorithm>

#include "device/capabilities.h"

namespace torchrev {
namespace detail {

namespace {

at::CPUGeneratorImpl& cpu_generator() {
  return *at::check_generator<at::CPUGeneratorImpl>(
      at::detail::getDefaultCPUGenerator());
}

}  // namespace

RandomState RandomState::capture(at::ArrayRef<c10::Device> devices) {
  RandomState state;
  {
    auto& generator = cpu_generator();
    std::lock_guard<std::mutex> lock(generator.mutex_);
    state.cpu_ = generator.engine().data();
    state.cpu_float_ = generator.next_float_normal_sample();
    state.cpu_double_ = generator.next_double_normal_sample();
  }
  for (const auto device : devices) {
    auto generator = at::globalContext().defaultGenerator(device);
    std::lock_guard<std::mutex> lock(generator.mutex());
    state.devices_.emplace_back(generator, generator.get_state());
  }
  return state;
}

void RandomState::restore() const {
  {
    auto& generator = cpu_generator();
    std::lock_guard<std::mutex> lock(generator.mutex_);
    at::mt19937 engine;
    engine.set_data(cpu_);
    generator.set_engine(engine);
    generator.set_next_float_normal_sample(cpu_float_);
    generator.set_next_double_normal_sample(cpu_double_);
  }
  for (auto [generator, state] : devices_) {
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(state);
  }
}

bool RandomState::operator==(const RandomState& other) const {
  return cpu_.left_ == other.cpu_.left_ && cpu_.next_ == other.cpu_.next_ &&
         cpu_.seed_ == other.cpu_.seed_ && cpu_.state_ == other.cpu_.state_ &&
         cpu_float_ == other.cpu_float_ && cpu_double_ == other.cpu_double_ &&
         std::equal(
             devices_.begin(),
             devices_.end(),
             other.devices_.begin(),
             other.devices_.end(),
             [](const auto& a, const auto& b) {
               return at::equal(a.second, b.second);
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
