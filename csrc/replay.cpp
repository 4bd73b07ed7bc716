#include "replay.h"

#include <ATen/Context.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>

#include <algorithm>
#include <cstring>

#include "compat.h"

namespace torchrev {
namespace detail {

namespace {

// Larger buffers count as constant unless the branch declares them mutable.
constexpr std::size_t kLargestSnapshot = std::size_t(1) << 20;

at::CPUGeneratorImpl& cpu_generator() {
  return *at::check_generator<at::CPUGeneratorImpl>(
      at::detail::getDefaultCPUGenerator());
}

// The CPU generator and the buffers of a branch are one for the process:
// recomputes that set them take turns. Recursive, because the local gradient
// may run another recompute.
std::recursive_mutex& recompute_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

template <typename State>
class Restore {
 public:
  explicit Restore(State state) : state_(std::move(state)) {}
  ~Restore() {
    state_.restore();
  }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  State state_;
};

std::vector<c10::Device> accelerators(const Branch& branch, const Tensor& x) {
  std::vector<c10::Device> devices;
  const auto add = [&devices](const Tensor& tensor) {
    const auto device = tensor.device();
    const bool has_generator = device.is_cuda() || device.is_mps() ||
                               device.is_xpu() ||
                               device.type() == c10::DeviceType::PrivateUse1;
    if (has_generator &&
        std::find(devices.begin(), devices.end(), device) == devices.end()) {
      devices.push_back(device);
    }
  };
  add(x);
  if (!devices.empty()) {
    for (const auto& parameter : branch.parameters()) {
      add(parameter);
    }
  }
  return devices;
}

// Writes without raising the version: batch norm saves its statistics for
// backward and updates them without raising it, too.
void write(const Tensor& buffer, const Tensor& value) {
  at::NoGradGuard no_grad;
  buffer.variable_data().copy_(value);
}

std::vector<BufferCopy> copy_buffers(const std::vector<BufferCopy>& like) {
  at::NoGradGuard no_grad;
  std::vector<BufferCopy> copies;
  for (const auto& item : like) {
    copies.push_back({item.buffer, item.buffer.detach().clone()});
  }
  return copies;
}

bool same_attributes(
    const std::vector<c10::IValue>& a, const std::vector<c10::IValue>& b) {
  return a.size() == b.size() &&
         std::equal(
             a.begin(), a.end(), b.begin(), [](const auto& x, const auto& y) {
               return x.is(y);
             });
}

}  // namespace

RngState RngState::capture(at::ArrayRef<c10::Device> devices) {
  RngState state;
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

void RngState::restore() const {
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

bool RngState::operator==(const RngState& other) const {
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

AutocastState AutocastState::capture(c10::DeviceType device) {
  AutocastState state;
  const auto add = [&state](c10::DeviceType type) {
    state.types_.push_back(
        {type,
         compat::is_autocast_enabled(type),
         compat::autocast_dtype(type)});
  };
  add(at::kCPU);
  add(at::kCUDA);
  if (device != at::kCPU && device != at::kCUDA &&
      compat::has_autocast(device)) {
    add(device);
  }
  state.cache_ = at::autocast::is_autocast_cache_enabled();
  return state;
}

void AutocastState::restore() const {
  for (const auto& item : types_) {
    compat::set_autocast_enabled(item.type, item.enabled);
    compat::set_autocast_dtype(item.type, item.dtype);
  }
  at::autocast::set_autocast_cache_enabled(cache_);
}

bool AutocastState::any_enabled() const {
  return std::any_of(types_.begin(), types_.end(), [](const PerType& item) {
    return item.enabled;
  });
}

AutocastState AutocastState::without_cache() const {
  AutocastState state = *this;
  state.cache_ = false;
  return state;
}

Replay::Replay(
    const Branch& branch, const Tensor& x, const ReversibleOptions& options)
    : branch_(branch),
      preserve_rng_(options.preserve_rng_state()),
      verify_(options.verify_constant_buffers()),
      devices_(accelerators(branch, x)),
      autocast_(AutocastState::capture(x.device().type())),
      attributes_(branch.callable().attributes()) {
  for (const auto& buffer : branch.buffers()) {
    if (!buffer.defined() || buffer.is_inference() ||
        at::has_internal_overlap(buffer) == at::MemOverlap::Yes) {
      continue;
    }
    const bool small = buffer.nbytes() <= kLargestSnapshot;
    if (small || branch.has_mutable_buffers()) {
      buffers_.push_back({buffer, Tensor()});
    } else if (verify_) {
      constants_.push_back({buffer, Tensor()});
    }
  }
  buffers_ = copy_buffers(buffers_);
  constants_ = copy_buffers(constants_);
}

Tensor Replay::record(
    const Place& place,
    const Tensor& x,
    at::TensorList context,
    at::TensorList parameters) {
  std::unique_ptr<Restore<AutocastState>> cache_guard;
  if (autocast_.any_enabled()) {
    cache_guard = std::make_unique<Restore<AutocastState>>(autocast_);
    autocast_.without_cache().restore();
  }
  if (preserve_rng_) {
    rng_ = std::make_unique<RngState>(RngState::capture(devices_));
  }
  auto out = [&] {
    RecordScope scope(decisions_);
    return branch_.callable().forward(x, context, parameters);
  }();
  if (rng_ && *rng_ == RngState::capture(devices_)) {
    rng_.reset();
  }
  for (const auto& constant : std::exchange(constants_, {})) {
    TORCH_CHECK_VALUE(
        at::equal(constant.buffer, constant.value),
        "torchrev::",
        place.entry,
        ": expected the buffers of more than 1 MiB of ",
        place,
        " to be constant, but got one of shape ",
        constant.buffer.sizes(),
        " that its forward changed. Declare it with "
        "Branch::mutable_buffers().");
  }
  return out;
}

Rerun::Rerun(const Replay& replay) : replay_(replay) {
  auto& callable = replay.branch_.callable();
  attributes_ = callable.attributes();
  attributes_changed_ = !same_attributes(attributes_, replay.attributes_);
  if (replay.rng_ || !replay.buffers_.empty() || attributes_changed_) {
    lock_ = std::unique_lock<std::recursive_mutex>(recompute_mutex());
  }
  buffers_ = copy_buffers(replay.buffers_);
  if (attributes_changed_) {
    callable.set_attributes(replay.attributes_);
  }
  for (const auto& item : replay.buffers_) {
    write(item.buffer, item.value);
  }
}

Rerun::~Rerun() {
  for (const auto& item : buffers_) {
    write(item.buffer, item.value);
  }
  auto& callable = replay_.branch_.callable();
  if (attributes_changed_ ||
      !same_attributes(attributes_, callable.attributes())) {
    callable.set_attributes(attributes_);
  }
}

Tensor Rerun::operator()(
    const Tensor& x, at::TensorList context, at::TensorList parameters) {
  Restore<AutocastState> autocast_guard(
      AutocastState::capture(x.device().type()));
  replay_.autocast_.without_cache().restore();
  std::unique_ptr<Restore<RngState>> rng_guard;
  if (replay_.rng_) {
    rng_guard = std::make_unique<Restore<RngState>>(
        RngState::capture(replay_.devices_));
    replay_.rng_->restore();
  }
  ReplayScope scope(replay_.decisions_);
  auto out = replay_.branch_.callable().forward(x, context, parameters);
  scope.check_complete();
  return out;
}

Unobserved::Unobserved(const Branch& branch, const Tensor& x)
    : replay_(branch, x, {}), rng_(RngState::capture(replay_.devices_)) {}

Unobserved::~Unobserved() {
  for (const auto& item : replay_.buffers_) {
    write(item.buffer, item.value);
  }
  auto& callable = replay_.branch_.callable();
  if (!same_attributes(replay_.attributes_, callable.attributes())) {
    callable.set_attributes(replay_.attributes_);
  }
  rng_.restore();
}

}  // namespace detail
}  // namespace torchrev
