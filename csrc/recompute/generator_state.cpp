#include "recompute/generator_state.h"

#include <ATen/Context.h>
#include <ATen/ops/equal.h>

#include "device/capabilities.h"

namespace torchrev {
namespace detail {

namespace {

at::CPUGeneratorImpl& as_cpu(const at::Generator& generator) {
  return *static_cast<at::CPUGeneratorImpl*>(
      generator.unsafeGetGeneratorImpl());
}

bool same(const at::mt19937_data_pod& a, const at::mt19937_data_pod& b) {
  return a.left_ == b.left_ && a.next_ == b.next_ && a.seed_ == b.seed_ &&
         a.state_ == b.state_;
}

}  // namespace

GeneratorState GeneratorState::of(const at::Generator& generator) {
  GeneratorState state;
  if (generator.device().is_cpu()) {
    auto& cpu = as_cpu(generator);
    state.cpu_ = cpu.engine().data();
    state.cpu_float_ = cpu.next_float_normal_sample();
    state.cpu_double_ = cpu.next_double_normal_sample();
  } else {
    state.device_ = generator.get_state();
  }
  return state;
}

void GeneratorState::set(at::Generator& generator) const {
  if (device_.defined()) {
    generator.set_state(device_);
    return;
  }
  auto& cpu = as_cpu(generator);
  at::mt19937 engine;
  engine.set_data(cpu_);
  cpu.set_engine(engine);
  cpu.set_next_float_normal_sample(cpu_float_);
  cpu.set_next_double_normal_sample(cpu_double_);
}

bool GeneratorState::operator==(const GeneratorState& other) const {
  if (device_.defined()) {
    return at::equal(device_, other.device_);
  }
  return same(cpu_, other.cpu_) && cpu_float_ == other.cpu_float_ &&
         cpu_double_ == other.cpu_double_;
}

bool GeneratorState::is_of(const at::Generator& generator) const {
  if (device_.defined()) {
    return at::equal(device_, generator.get_state());
  }
  auto& cpu = as_cpu(generator);
  return same(cpu_, cpu.engine().data()) &&
         cpu_float_ == cpu.next_float_normal_sample() &&
         cpu_double_ == cpu.next_double_normal_sample();
}

at::Generator default_generator(const c10::Device& device) {
  if (device.is_cpu()) {
    return at::detail::getDefaultCPUGenerator();
  }
  return has_generator(device) ? at::globalContext().defaultGenerator(device)
                               : at::Generator();
}

}  // namespace detail
}  // namespace torchrev
