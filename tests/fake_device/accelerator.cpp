#include "fake_device/accelerator.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/cuda.h>

#include <cstdlib>
#include <mutex>

#include "fake_device/guard.h"
#include "fake_device/hooks.h"
#include "fake_device/operators.h"

namespace torchrev {
namespace test {

namespace {

bool asks_for_cuda() {
  const auto* const name = std::getenv("TORCHREV_TEST_ACCELERATOR");
  return name && std::string(name) == "cuda";
}

// A build of an old release that has CUDA keeps it.
bool has_place_for_fake() {
  return !c10::impl::hasDeviceGuardImpl(kFake);
}

// Before the engine counts the devices, each of which gets a thread of its own.
const bool fake_is_installed = [] {
  if (asks_for_cuda() || !has_place_for_fake()) {
    return false;
  }
  install_guard();
  install_hooks();
  install_operators();
  return true;
}();

// The member of a tensor that no function sets.
struct Impl : c10::TensorImpl {
  static constexpr auto device() {
    return &Impl::device_opt_;
  }
};

// Module::to() gives each tensor other data, which LibTorch refuses where these
// are of another type than it knows: for PrivateUse1 the tensor itself moves.
void move_to_fake(const Tensor& tensor, const c10::Device& device) {
  const auto moved = tensor.detach().to(device);
  auto* const impl = tensor.unsafeGetTensorImpl();
  impl->_change_backend_component_keys(device);
  impl->*Impl::device() = device;
  impl->set_storage_keep_dtype(moved.storage());
  impl->set_sizes_and_strides(moved.sizes(), moved.strides());
}

}  // namespace

void move_to_fake(
    const std::vector<Tensor>& tensors, const c10::Device& device) {
  for (const auto& tensor : tensors) {
    move_to_fake(tensor, device);
  }
}

Branch on_accelerator(const Branch& branch, int64_t index) {
  const auto device = accelerator(index);
  if (!is_fake()) {
    return branch.clone(device);
  }
  auto copy = branch.clone();
  move_to_fake(copy.parameters(), device);
  move_to_fake(copy.buffers(), device);
  return copy;
}

bool is_fake() {
  return fake_is_installed;
}

c10::Device accelerator(int64_t index) {
  return {is_fake() ? kFake : at::kCUDA, static_cast<c10::DeviceIndex>(index)};
}

void synchronize() {
  if (is_fake()) {
    Timeline::instance().wait_for_all();
  } else {
    torch::cuda::synchronize();
  }
}

Tensor on_accelerator(const Tensor& x, int64_t index) {
  return x.detach().to(accelerator(index)).requires_grad_(x.requires_grad());
}

Inputs on_accelerator(const Inputs& inputs, int64_t index) {
  Inputs moved{
      on_accelerator(inputs.x1, index), on_accelerator(inputs.x2, index), {}};
  for (const auto& tensor : inputs.context) {
    moved.context.push_back(on_accelerator(tensor, index));
  }
  return moved;
}

Blocks on_accelerator(const Blocks& blocks, int64_t index) {
  Blocks moved;
  for (const auto& block : blocks) {
    moved.push_back(
        {on_accelerator(block.f, index), on_accelerator(block.g, index)});
  }
  return moved;
}

at::Generator generator_of(const c10::Device& device) {
  return at::globalContext().defaultGenerator(device);
}

Branch normed(int64_t width) {
  torch::nn::Sequential module(
      torch::nn::BatchNorm1d(width),
      torch::nn::Linear(width, width),
      torch::nn::Dropout(0.5));
  module->to(at::kDouble);
  return module;
}

Branch asking(int64_t index, const std::vector<Tensor>& parameters) {
  return Branch::function(
      [index](const Tensor& x, at::TensorList, at::TensorList parameters) {
        auto generator = generator_of(accelerator(index));
        double factor = 1;
        {
          const std::lock_guard<std::mutex> lock(generator.mutex());
          factor +=
              at::check_generator<at::CPUGeneratorImpl>(generator)->random() %
              7;
        }
        return parameters.empty() ? x * factor
                                  : x * factor * parameters[0].to(x.device());
      },
      parameters);
}

void AcceleratorTest::SetUp() {
  if (!is_fake() && !torch::cuda::is_available()) {
    GTEST_SKIP() << "There is no CUDA device.";
  }
  synchronize();
  Memory::instance().take_races();
  Timeline::instance().take_faults();
}

void AcceleratorTest::TearDown() {
  // Of a test that has thrown within one.
  Timeline::instance().end_capture();
  for (const auto& race : Memory::instance().take_races()) {
    ADD_FAILURE() << race;
  }
  for (const auto& fault : Timeline::instance().take_faults()) {
    ADD_FAILURE() << fault;
  }
}

void FakeDeviceTest::SetUp() {
  if (!is_fake()) {
    GTEST_SKIP() << "Only the fake device shows it.";
  }
  AcceleratorTest::SetUp();
}

int64_t FakeDeviceTest::waits_of(const std::function<void()>& fn) {
  const auto before = timeline().waits();
  fn();
  return timeline().waits() - before;
}

}  // namespace test
}  // namespace torchrev
