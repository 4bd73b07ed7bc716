#pragma once

#include <ATen/core/Generator.h>
#include <torchrev/branch.h>

#include <memory>
#include <vector>

#include "recompute/generator_state.h"
#include "recompute/random_state.h"

namespace torchrev {
namespace detail {

// The random numbers that a call drew by operators: for each device, where the
// generator stood before the first draw, and before each draw that did not go
// on where the last one ended, because another thread drew in between.
class DrawRecord {
 public:
  DrawRecord() = default;
  // Of a call that was not watched: as if all that it drew came from the
  // generators as they stood before it.
  explicit DrawRecord(const RandomState& before);

  // One more draw on `device`, which took its generator from `before` to
  // `after`.
  void note(
      const c10::Device& device,
      const GeneratorState& before,
      const GeneratorState& after);

  bool empty() const {
    return sources_.empty();
  }
  // Whether the same draws started at the same places.
  bool operator==(const DrawRecord& other) const;

  // Call it when the call is over: drops what only note() needs.
  void finish();

 private:
  friend class OwnGenerators;
  struct Start {
    std::size_t draw;
    GeneratorState state;

    bool operator==(const Start& other) const {
      return draw == other.draw && state == other.state;
    }
  };
  struct Source {
    c10::Device device;
    std::size_t draws = 0;
    std::vector<Start> starts;
    std::unique_ptr<GeneratorState> end;
  };
  const Source* find(const c10::Device& device) const;

  std::vector<Source> sources_;
};

// Generators that give the numbers of a recorded call again, whatever others
// draw meanwhile: nobody else draws from them.
class OwnGenerators {
 public:
  // `record` outlives it.
  explicit OwnGenerators(const DrawRecord& record) : record_(record) {}

  // The generator for the next draw on `device`.
  at::Generator& next(const c10::Device& device);

  // Whether each generator that was drawn from stands where it does in `end`.
  bool stand_at(const RandomState& end) const;

 private:
  struct Source {
    const DrawRecord::Source* record;
    c10::Device device;
    at::Generator generator;
    std::size_t draws = 0;
    std::size_t starts = 0;
  };
  Source& source(const c10::Device& device);

  const DrawRecord& record_;
  std::vector<Source> sources_;
};

}  // namespace detail
}  // namespace torchrev
