#include "recompute/draws.h"

#include <algorithm>
#include <mutex>

namespace torchrev {
namespace detail {

namespace {

template <typename Sources>
auto find_in(Sources& sources, const c10::Device& device) {
  return std::find_if(sources.begin(), sources.end(), [&](const auto& source) {
    return source.device == device;
  });
}

at::Generator make_generator(const c10::Device& device) {
  if (device.is_cpu()) {
    return at::make_generator<at::CPUGeneratorImpl>();
  }
  auto generator = default_generator(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.clone();
}

}  // namespace

DrawRecord::DrawRecord(const RandomState& before) {
  before.for_each([this](const c10::Device& device, const auto& state) {
    sources_.push_back({device, 1, {}, nullptr});
    sources_.back().starts.push_back({0, state});
  });
}

void DrawRecord::note(
    const c10::Device& device,
    const GeneratorState& before,
    const GeneratorState& after) {
  auto source = find_in(sources_, device);
  if (source == sources_.end()) {
    sources_.push_back({device, 0, {}, nullptr});
    source = sources_.end() - 1;
    // One is what there is but for other threads: no room for more.
    source->starts.reserve(1);
  }
  if (!source->end) {
    source->starts.push_back({source->draws, before});
    source->end = std::make_unique<GeneratorState>(after);
  } else {
    if (!(*source->end == before)) {
      source->starts.push_back({source->draws, before});
    }
    *source->end = after;
  }
  ++source->draws;
}

const DrawRecord::Source* DrawRecord::find(const c10::Device& device) const {
  const auto found = find_in(sources_, device);
  return found == sources_.end() ? nullptr : &*found;
}

bool DrawRecord::operator==(const DrawRecord& other) const {
  const auto same = [](const Source& a, const Source& b) {
    return a.device == b.device && a.draws == b.draws && a.starts == b.starts;
  };
  return std::equal(
      sources_.begin(),
      sources_.end(),
      other.sources_.begin(),
      other.sources_.end(),
      same);
}

void DrawRecord::finish() {
  for (auto& source : sources_) {
    source.end.reset();
  }
}

OwnGenerators::Source& OwnGenerators::source(const c10::Device& device) {
  const auto found = find_in(sources_, device);
  if (found != sources_.end()) {
    return *found;
  }
  sources_.push_back({record_.find(device), device, make_generator(device)});
  return sources_.back();
}

at::Generator& OwnGenerators::next(const c10::Device& device) {
  auto& own = source(device);
  if (own.record && own.starts < own.record->starts.size() &&
      own.record->starts[own.starts].draw == own.draws) {
    own.record->starts[own.starts++].state.set(own.generator);
  }
  ++own.draws;
  return own.generator;
}

bool OwnGenerators::stand_at(const RandomState& end) const {
  bool all = true;
  end.for_each([&](const c10::Device& device, const auto& state) {
    const auto own = find_in(sources_, device);
    all = all && (own == sources_.end() || state.is_of(own->generator));
  });
  return all;
}

}  // namespace detail
}  // namespace torchrev
