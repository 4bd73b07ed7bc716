#include "fuzz/hostile.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/torch.h>

#include <limits>

#include "fuzz/modules.h"
#include "ops/ops_resolver.h"

namespace torchrev {
namespace fuzz {

namespace {

using at::Tensor;
using c10::IValue;

constexpr int64_t kWidth = 4;

const std::vector<int64_t> kIntegers = {
    0,
    1,
    2,
    3,
    -1,
    4,
    -2,
    7,
    100,
    int64_t{1} << 31,
    int64_t{1} << 62,
    std::numeric_limits<int64_t>::max(),
    std::numeric_limits<int64_t>::min()};
const std::vector<double> kNumbers = {
    0.9,
    0.0,
    0.5,
    1.0,
    -1.0,
    1e-300,
    1e300,
    std::numeric_limits<double>::infinity(),
    -std::numeric_limits<double>::infinity(),
    std::numeric_limits<double>::quiet_NaN()};
const std::vector<std::string> kTexts = {
    "additive",
    "momentum",
    "affine",
    "split",
    "duplicate",
    "velocity",
    "",
    "Split",
    "additive\n",
    std::string("a\0b", 3),
    std::string(10000, 'x'),
    "{}%s"};
const std::vector<std::vector<int64_t>> kShapes = {
    {2, 4},
    {2, 4},
    {2, 4},
    {2, 4},
    {4, 4},
    {2, 8},
    {3, 2, 4},
    {2, 7},
    {4},
    {},
    {0},
    {0, 4},
    {2, 0},
    {1, 4},
    {1, 1, 1, 1, 1, 1, 1, 1, 4}};

}  // namespace

Calls::Calls(uint64_t seed) : seed_(seed), branches_(make_branches()) {
  const auto& good = branches_[0];
  modules_ = {test::module_list({{good, good}, {good, good}})};
  for (auto& odd : make_odd_lists(good)) {
    modules_.push_back(odd);
  }
  for (const auto& wrong : branches_) {
    modules_.push_back(test::module_list({{wrong, good}}));
    modules_.push_back(test::module_list({{good, good}, {good, wrong}}));
  }
}

int64_t Calls::below(int64_t n) {
  return static_cast<int64_t>(random_() % static_cast<uint64_t>(n));
}

bool Calls::once_in(int64_t n) {
  return below(n) == 0;
}

template <typename T>
const T& Calls::any(const std::vector<T>& of) {
  return of[below(static_cast<int64_t>(of.size()))];
}

Tensor Calls::tensor() {
  if (once_in(50)) {
    return Tensor();
  }
  static const std::vector<at::ScalarType> odd = {
      at::kDouble,
      at::kHalf,
      at::kBFloat16,
      at::kLong,
      at::kBool,
      at::kByte,
      at::kComplexFloat};
  const auto dtype = once_in(8) ? any(odd) : at::kFloat;
  auto x = torch::full(any(kShapes), 0.5, at::kFloat).to(dtype);
  if (once_in(60)) {
    // Far more than there is memory, and no memory of its own.
    return torch::ones({1}, dtype)
        .expand(
            {int64_t{1} << (once_in(2) ? below(10) : 40 + below(20)), kWidth});
  }
  if (once_in(40)) {
    return x.to_sparse();
  }
  if (once_in(40)) {
    x = x.to(at::kMeta);
  }
  if (once_in(20) && x.dim() > 1) {
    x = x.transpose(0, 1);
  }
  if (once_in(40) && x.is_floating_point() && !x.is_meta()) {
    x.fill_(std::numeric_limits<double>::quiet_NaN());
  }
  const bool trains = at::isFloatingType(dtype) && once_in(2);
  return trains ? x.requires_grad_() : x;
}

IValue Calls::nonsense() {
  switch (below(9)) {
    case 0:
      return IValue();
    case 1:
      return any(kIntegers);
    case 2:
      return any(kNumbers);
    case 3:
      return any(kTexts);
    case 4:
      return once_in(2);
    case 5:
      return tensor();
    case 6:
      return any(branches_)._ivalue();
    case 7:
      return c10::List<int64_t>({1, 2});
    default: {
      c10::Dict<std::string, Tensor> dictionary;
      dictionary.insert("x", torch::ones({2, kWidth}));
      return dictionary;
    }
  }
}

IValue Calls::module(bool of_blocks) {
  if (once_in(50)) {
    return nonsense();
  }
  const auto& pool = once_in(20) != of_blocks ? modules_ : branches_;
  return (once_in(2) ? pool[0] : any(pool))._ivalue();
}

IValue Calls::context() {
  switch (below(7)) {
    case 0:
      return IValue();
    case 1:
      return nonsense();
    case 2: {
      c10::List<Tensor> list;
      for (auto size = below(4); size > 0; --size) {
        list.push_back(tensor());
      }
      return list;
    }
    case 3: {
      std::vector<IValue> items;
      for (auto size = below(4); size > 0; --size) {
        items.push_back(once_in(5) ? nonsense() : IValue(tensor()));
      }
      return c10::ivalue::Tuple::create(std::move(items));
    }
    case 4: {
      IValue nested = tensor();
      for (auto depth = below(2) == 0 ? below(3) : below(300); depth > 0;
           --depth) {
        nested = c10::ivalue::Tuple::create({nested});
      }
      return nested;
    }
    default:
      return tensor();
  }
}

IValue Calls::option(const c10::Argument& argument) {
  const auto type = argument.type()->str();
  if (once_in(20)) {
    return nonsense();
  }
  if (type.back() == '?' && once_in(4)) {
    return IValue();
  }
  if (type.rfind("bool", 0) == 0) {
    return once_in(2);
  }
  if (type.rfind("float", 0) == 0) {
    return any(kNumbers);
  }
  if (type.rfind("str", 0) == 0) {
    return any(kTexts);
  }
  // Small ones are the codes of dtypes, too.
  return once_in(2) ? below(50) - 2 : any(kIntegers);
}

Call Calls::draw(uint64_t number) {
  // Multiplied, so that the calls of two seeds are not the same ones, shifted.
  random_.seed(seed_ * 0x9E3779B97F4A7C15 + number);
  static const std::vector<std::string> names = {
      "reversible_block",
      "reversible_block_inverse",
      "reversible_sequence",
      "reversible_sequence_inverse",
      "reversible_residual",
      "remember",
      "check_deferred"};
  Call call;
  const auto choice = below(50);
  call.name = names[choice < 2 ? 5 + choice : choice % 5];
  call.overload = choice >= 2 && once_in(3) ? "context" : "";
  call.grad_mode = !once_in(5);
  const auto schema = c10::Dispatcher::singleton().findSchemaOrThrow(
      ("torchrev::" + call.name).c_str(), call.overload.c_str());
  // Half of the calls have streams of one shape, and get further.
  const auto stream = tensor();
  const bool alike = once_in(2);
  for (const auto& argument : schema.schema().arguments()) {
    const auto type = argument.type()->str();
    if (argument.kwarg_only()) {
      if (once_in(30)) {
        call.keywords[argument.name()] = option(argument);
      }
    } else if (once_in(100)) {
      call.arguments.push_back(nonsense());
    } else if (argument.name() == "context") {
      call.arguments.push_back(context());
    } else if (type == "Any") {
      call.arguments.push_back(module(argument.name() == "blocks"));
    } else if (type == "str") {
      call.arguments.push_back(any(kTexts));
    } else {
      call.arguments.push_back(alike ? stream : tensor());
    }
  }
  if (once_in(100)) {
    call.keywords["bogus"] = nonsense();
  }
  if (once_in(100) && !call.arguments.empty()) {
    call.arguments.pop_back();
  }
  if (once_in(100)) {
    call.arguments.push_back(nonsense());
  }
  return call;
}

}  // namespace fuzz
}  // namespace torchrev
