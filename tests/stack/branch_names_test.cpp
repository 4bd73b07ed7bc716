#include <ATen/record_function.h>
#include <torch/csrc/jit/runtime/jit_exception.h>
#include <torch/script.h>

#include <typeinfo>

#include "support/support.h"

// What a user reads of a stack: where an error in a branch came from, the nodes
// of the graph, the ranges of a profile.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

using Parameters = at::TensorList;

struct OfTheUsers : c10::ValueError {
  using c10::ValueError::ValueError;
};

// A branch that runs `fail` in its run number `last`, and sin in all.
Branch failing(int last, std::function<void()> fail) {
  auto left = std::make_shared<int>(last);
  return Branch::function(
      [left, fail](const Tensor& x, at::TensorList, Parameters) {
        if (--*left == 0) {
          fail();
        }
        return x.sin();
      });
}

template <typename Error>
void fail_with() {
  if constexpr (std::is_base_of_v<c10::Error, Error>) {
    throw Error({__func__, __FILE__, 1}, "no answer");
  } else {
    throw Error("no answer");
  }
}

class BranchErrorTest : public testing::Test {
 protected:
  // `run` throws exactly an Error, whose text begins as the branch said and
  // then has these places, in this order, the last one at its end.
  template <typename Error>
  static void expect_places(
      const std::function<void()>& run,
      const std::vector<std::string>& places,
      const std::string& begin = "no answer") {
    try {
      run();
      ADD_FAILURE() << "threw nothing";
    } catch (const std::exception& error) {
      EXPECT_STREQ(typeid(error).name(), typeid(Error).name());
      const auto text = message_of(error);
      EXPECT_EQ(text.rfind(begin, 0), 0) << text;
      std::size_t at = 0;
      for (const auto& place : places) {
        at = text.find("in " + place, at);
        ASSERT_NE(at, std::string::npos) << place << " is not in " << text;
        at += place.size() + 3;
      }
      // c10 puts a single place into brackets.
      EXPECT_LE(text.size() - at, 1u) << text;
    }
  }

  void step(const Branch& branch) {
    const Blocks blocks = {{sin, sin}, {sin, branch}, {sin, sin}};
    const auto [y1, y2] = reversible_sequence(blocks, x, x);
    (y1 + y2).sum().backward();
  }

  Branch sin = failing(0, [] {});
  Tensor x = torch::randn({2, kWidth}).requires_grad_();
};

// The first call of a function is looked through; forward and recompute follow.
template <typename Error>
class BranchErrorTypeTest : public BranchErrorTest {};
using Errors = testing::Types<
    c10::Error,
    c10::ValueError,
    c10::NotImplementedError,
    OfTheUsers,
    std::runtime_error,
    torch::jit::JITException>;
TYPED_TEST_SUITE(BranchErrorTypeTest, Errors);

TYPED_TEST(BranchErrorTypeTest, InForwardKeepsItsTypeAndNamesThePlace) {
  this->template expect_places<TypeParam>(
      [&] { this->step(failing(1, fail_with<TypeParam>)); },
      {"G of block 1 of torchrev::reversible_sequence"});
}

TYPED_TEST(BranchErrorTypeTest, InTheRecomputeKeepsItsTypeAndNamesThePlace) {
  // The runs of forward pass.
  int runs = 0;
  const auto branch = failing(0, [] {});
  const auto counting =
      Branch::function([&runs](const Tensor& x, at::TensorList, Parameters) {
        if (at::GradMode::is_enabled() && ++runs > 1) {
          fail_with<TypeParam>();
        }
        return x.sin();
      });
  runs = -3;  // First calls are run twice.
  const auto [y1, y2] = reversible_block(counting, counting, this->x, this->x);
  runs = 1;
  this->template expect_places<TypeParam>(
      [&, &y1 = y1, &y2 = y2] { (y1 + y2).sum().backward(); },
      {"G of block 0 of torchrev::reversible_block"});
}

TYPED_TEST(BranchErrorTypeTest, InTheInverseNamesThePlace) {
  this->template expect_places<TypeParam>(
      [&] {
        const auto bad = failing(1, fail_with<TypeParam>);
        reversible_block_inverse(bad, this->sin, this->x, this->x);
      },
      {"F of block 0 of torchrev::reversible_block_inverse"});
}

TYPED_TEST(BranchErrorTypeTest, OfANestedStackNamesBothPlaces) {
  const auto bad = failing(1, fail_with<TypeParam>);
  const auto outer =
      Branch::function([&](const Tensor& x, at::TensorList, Parameters) {
        return std::get<0>(reversible_block(bad, this->sin, x, x));
      });
  this->template expect_places<TypeParam>(
      [&] { this->step(outer); },
      {"F of block 0 of torchrev::reversible_block",
       "G of block 1 of torchrev::reversible_sequence"});
}

// One that fails when gradients pass through it.
struct FailsInBackward : torch::autograd::Function<FailsInBackward> {
  static Tensor forward(torch::autograd::AutogradContext*, const Tensor& x) {
    return x.sin();
  }
  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext*, torch::autograd::variable_list&) {
    fail_with<c10::ValueError>();
    return {};
  }
};

TEST_F(BranchErrorTest, InTheGradientOfABranchNamesThePlace) {
  const auto bad =
      Branch::function([](const Tensor& x, at::TensorList, Parameters) {
        return FailsInBackward::apply(x);
      });
  expect_places<c10::ValueError>(
      [&] { step(bad); }, {"G of block 1 of torchrev::reversible_sequence"});
}

TEST_F(BranchErrorTest, InTheGradientOfANestedStackNamesBothPlaces) {
  const auto bad =
      Branch::function([](const Tensor& x, at::TensorList, Parameters) {
        return FailsInBackward::apply(x);
      });
  const auto outer =
      Branch::function([&](const Tensor& x, at::TensorList, Parameters) {
        return std::get<0>(reversible_block(bad, sin, x, x));
      });
  expect_places<c10::ValueError>(
      [&] { step(outer); },
      {"F of block 0 of torchrev::reversible_block",
       "G of block 1 of torchrev::reversible_sequence"});
}

TEST_F(BranchErrorTest, OfTheInterpreterKeepsItsType) {
  torch::jit::Module wrong("Wrong"), raises("Raises");
  wrong.define("def forward(self, x):\n    return x.view([3, 3])\n");
  raises.define(
      "def forward(self, x):\n    assert x.size(0) == 17\n    return x\n");
  const auto place = "G of block 1 of torchrev::reversible_sequence";
  // As the module throws it by itself, which LibTorch 2.15 does otherwise.
  const auto alone = [&wrong, this] { wrong.forward({x}); };
  const auto with_stack = [&] { step(wrong); };
  const auto begin = "The following operation failed";
  try {
    alone();
    ADD_FAILURE() << "threw nothing";
  } catch (const c10::Error&) {
    expect_places<c10::Error>(with_stack, {place}, begin);
  } catch (const std::runtime_error&) {
    expect_places<std::runtime_error>(with_stack, {place}, begin);
  }
  expect_places<torch::jit::JITException>(
      [&] { step(raises); }, {place}, "The following operation failed");
}

TEST_F(BranchErrorTest, OfATypeThatCannotBeExtendedPassesAsItIs) {
  for (const auto& fail :
       {std::function<void()>(fail_with<std::domain_error>),
        std::function<void()>(fail_with<std::overflow_error>)}) {
    EXPECT_ANY_THROW(step(failing(1, fail)));
  }
  EXPECT_THROW(
      step(failing(1, fail_with<std::overflow_error>)), std::overflow_error);
  EXPECT_THROW(step(failing(1, [] { throw 3; })), int);
}

TEST(GraphNamesTest, NodesAreCalledByWhatTheyAre) {
  const auto x = torch::randn({2, kWidth}).requires_grad_();
  const auto [y1, y2] =
      reversible_sequence(mlp_blocks(2, kWidth, at::kFloat), x, x);
  EXPECT_EQ(y1.grad_fn()->name(), "torchrev::ReversibleStack");
  const auto& step = y1.grad_fn()->next_edge(0).function;
  EXPECT_EQ(step->name(), "torchrev::ReversibleStep");
  const auto merged = reversible_residual(mlp_blocks(2, 2, at::kFloat), x);
  EXPECT_EQ(merged.grad_fn()->name(), "torchrev::ReversibleStack");
}

// The ranges that a profiler of the user's hears, while it lives.
class Ranges {
 public:
  Ranges() {
    heard().clear();
    handle_ =
        at::addThreadLocalCallback(at::RecordFunctionCallback(&Ranges::hear)
                                       .scopes({at::RecordScope::USER_SCOPE}));
  }
  ~Ranges() {
    at::removeCallback(handle_);
  }
  static std::vector<std::string>& heard() {
    static std::vector<std::string> names;
    return names;
  }

 private:
  static std::unique_ptr<at::ObserverContext> hear(
      const at::RecordFunction& range) {
    heard().emplace_back(range.name());
    return nullptr;
  }
  at::CallbackHandle handle_;
};

TEST(ProfilerRangesTest, NameBranchBlockAndKindOfRun) {
  const auto blocks = mlp_blocks(2, kWidth, at::kFloat);
  const auto x = torch::randn({2, kWidth}).requires_grad_();
  const Ranges ranges;
  const auto [y1, y2] = reversible_sequence(blocks, x, x);
  (y1 + y2).sum().backward();
  const std::vector<std::string> expected = {
      "torchrev::F of block 0 (forward)",
      "torchrev::G of block 0 (forward)",
      "torchrev::F of block 1 (forward)",
      "torchrev::G of block 1 (forward)",
      "torchrev::G of block 1 (recompute)",
      "torchrev::F of block 1 (recompute)",
      "torchrev::G of block 0 (recompute)",
      "torchrev::F of block 0 (recompute)"};
  EXPECT_EQ(Ranges::heard(), expected);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
