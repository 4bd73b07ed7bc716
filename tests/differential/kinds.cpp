#include "kinds.h"

#include <array>
#include <cstddef>

namespace torchrev {
namespace test {
namespace differential {

namespace {

constexpr auto kBoth = Domain::kBoth;

Traits by_sample(Traits traits) {
  traits.by_sample = true;
  return traits;
}

Traits made_of_a_stack(const char* name, int context) {
  return {name, kBoth, context, true, true, false, true};
}

}  // namespace

const Traits& traits(Kind kind) {
  static const std::array<Traits, kKindCount> table = {{
      by_sample({"linear", Domain::kTokens}),
      by_sample({"mlp", Domain::kTokens}),
      by_sample({"attention", Domain::kTokens, 1}),
      by_sample({"convolution", Domain::kImages}),
      {"batch norm"},
      {"cumulative batch norm"},
      {"counter"},
      {"drift"},
      {"dropout", kBoth, 0, true},
      {"two dropouts", kBoth, 0, true},
      {"noise", kBoth, 0, true},
      by_sample({"tanh"}),
      by_sample({"strides"}),
      by_sample({"constant"}),
      by_sample({"identity"}),
      by_sample({"ignores its input"}),
      by_sample({"without graph"}),
      by_sample({"unused parameter"}),
      by_sample({"function"}),
      by_sample({"function of a non-leaf", kBoth, 0, false, false}),
      {"function with a buffer", kBoth, 0, false, false},
      by_sample({"context module", kBoth, 1}),
      by_sample({"context module of two", kBoth, 2}),
      by_sample({"context function", kBoth, -1}),
      by_sample({"script"}),
      {"script with dropout", kBoth, 0, true},
      {"script with state"},
      {"script with batch norm"},
      by_sample({"script with context", kBoth, 1}),
      made_of_a_stack("stack", 0),
      made_of_a_stack("module around a stack", 2),
      made_of_a_stack("function around a stack", -1),
      made_of_a_stack("script around a stack", 0),
      {"observer"},
      {"large buffer"},
      {"auxiliary loss in a member"},
      by_sample({"weight norm"}),
      {"grad mode"},
      by_sample({"differentiates"}),
      by_sample({"max norm"}),
      {"initialises"},
      by_sample({"thread pool"}),
      by_sample({"remember"}),
      {"fuse"},
      {"script with lists"},
      {"script with dictionaries"},
      {"script with an observer"},
      {"script with auxiliary losses"},
      {"script in a script"},
      {"dropout of drawn masks", kBoth, 0, true},
  }};
  return table.at(static_cast<std::size_t>(kind));
}

bool is_scripted(Kind kind) {
  return std::string(traits(kind).name).rfind("script", 0) == 0;
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
