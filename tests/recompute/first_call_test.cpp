#include <torchrev/torchrev.h>

#include "support/support.h"

// The first call of a branch runs twice and has to give the same: what no one
// can list and put back is an error there, not a wrong gradient.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

using Body = std::function<Tensor(const Tensor&)>;

// A module that counts its runs.
struct CountedImpl : torch::nn::Module {
  explicit CountedImpl(Body body = [](const Tensor& x) { return x.tanh(); })
      : body(std::move(body)),
        weight(register_parameter("weight", torch::ones({1}, at::kDouble))) {}
  Tensor forward(const Tensor& x) {
    ++runs;
    return body(x * weight);
  }
  Body body;
  Tensor weight;
  int runs = 0;
};
TORCH_MODULE(Counted);

class FirstCallTest : public testing::Test {
 protected:
  // Runs of `f` in one forward of a block.
  int runs_of(const Counted& f, const ReversibleOptions& options = {}) const {
    const auto before = f->runs;
    reversible_block(f, sine, inputs.x1, inputs.x2, {}, options);
    return f->runs - before;
  }

  const Branch sine =
      Branch::function([](const Tensor& x, auto, auto) { return x.sin(); });
  Inputs inputs = random_inputs({3, kWidth});
};

TEST_F(FirstCallTest, FindsAMemberThatForwardReassigns) {
  auto member = torch::zeros({}, at::kDouble);
  const Counted f([&member](const Tensor& x) {
    member = member * 0.9 + x.detach().mean() * 0.1;
    return (x + member).tanh();
  });
  EXPECT_THROW_WITH(
      runs_of(f),
      c10::ValueError,
      "torchrev::reversible_block",
      "F of block 0 to give the same when it runs again",
      "a member that forward changes",
      "verify_first_call(false)");
}

TEST_F(FirstCallTest, FindsAGeneratorOfItsOwn) {
  auto generator = at::detail::createCPUGenerator(7);
  const Counted f([&generator](const Tensor& x) {
    return x * torch::rand(x.sizes(), generator, x.options());
  });
  EXPECT_THROW_WITH(runs_of(f), c10::ValueError, "a generator of its own");
}

TEST_F(FirstCallTest, FindsWhatAFunctionCapturesAndChanges) {
  double factor = 1;
  const Branch f = Branch::function(
      [&factor](const Tensor& x, auto, auto) { return x * (factor *= 0.5); });
  EXPECT_THROW_WITH(
      reversible_block(f, sine, inputs.x1, inputs.x2),
      c10::ValueError,
      "F of block 0");
}

TEST_F(FirstCallTest, PassesDropoutBatchNormAndValuesThatAreNoNumbers) {
  torch::nn::Sequential module(
      torch::nn::BatchNorm1d(kWidth), torch::nn::Dropout(0.5));
  module->to(at::kDouble);
  EXPECT_NO_THROW(reversible_block(module, sine, inputs.x1, inputs.x2));
  EXPECT_EQ(module->buffers()[2].item<int64_t>(), 1);
  const Counted nan([](const Tensor& x) { return x / torch::zeros_like(x); });
  EXPECT_EQ(runs_of(nan), 2);
}

TEST_F(FirstCallTest, IsOnceAModuleWhicheverEntryItComesThrough) {
  Counted f;
  EXPECT_EQ(runs_of(f), 2);
  EXPECT_EQ(runs_of(f), 1);
  nn::ReversibleSequential stack(ReversibleOptions().duplicate());
  stack->push_back(f, torch::nn::Tanh());
  stack->forward(inputs.x1);
  EXPECT_EQ(f->runs, 4);
}

TEST_F(FirstCallTest, IsOnceForTrainingAndOnceForEvaluation) {
  Counted f;
  EXPECT_EQ(runs_of(f), 2);
  f->eval();
  EXPECT_EQ(runs_of(f), 2);
  EXPECT_EQ(runs_of(f), 1);
  f->train();
  EXPECT_EQ(runs_of(f), 1);
}

TEST_F(FirstCallTest, IsNotVerifiedWithoutGradModeNorIfTheOptionIsOff) {
  Counted f;
  {
    const at::NoGradGuard no_grad;
    EXPECT_EQ(runs_of(f), 1);
  }
  EXPECT_EQ(runs_of(f, ReversibleOptions().verify_first_call(false)), 1);
  EXPECT_EQ(runs_of(f), 2);
}

// The body of each level runs the level below: each level would double the runs
// of all below.
TEST_F(FirstCallTest, VerifiesNothingWithinItself) {
  const Counted inmost;
  Counted outer = inmost;
  for (int level = 0; level < 6; ++level) {
    const auto inner = outer;
    outer = Counted([inner, this](const Tensor& x) {
      const auto [y1, y2] = reversible_block(inner, sine, x, x);
      return 0.1 * (y1 + y2);
    });
    outer->register_module("inner", inner.ptr());
  }
  for (int step = 0; step < 10; ++step) {
    runs_of(outer);
  }
  EXPECT_LE(inmost->runs, 20);
  EXPECT_EQ(runs_of(outer), 1);
}

TEST_F(FirstCallTest, OfAFunctionIsVerifiedForEachBranchThatIsCalledAgain) {
  int runs = 0;
  const auto make = [&runs] {
    return Branch::function([&runs](const Tensor& x, auto, auto) {
      ++runs;
      return x.cos();
    });
  };
  const auto runs_of_step = [&](const Branch& f) {
    const auto before = runs;
    reversible_block(f, sine, inputs.x1, inputs.x2);
    return runs - before;
  };
  EXPECT_EQ(runs_of_step(make()), 2);
  for (int i = 0; i < 100; ++i) {
    runs_of_step(make());
  }
  // One made for each call costs no second run in the end; one that is held is
  // verified.
  EXPECT_EQ(runs_of_step(make()), 1);
  const Branch held = make();
  EXPECT_EQ(runs_of_step(held), 1);
  EXPECT_EQ(runs_of_step(held), 2);
  EXPECT_EQ(runs_of_step(held), 1);
}

// Differentiates within its forward, and counts its calls before it does.
struct DifferentiatesImpl : torch::nn::Module {
  DifferentiatesImpl()
      : weight(register_parameter(
            "weight", torch::linspace(1, 2, kWidth, at::kDouble))),
        calls(register_buffer("calls", torch::zeros({}, at::kDouble))) {}
  Tensor forward(const Tensor& x) {
    calls.add_(1);
    const auto sum = (x * weight).sin().sum();
    return torch::autograd::grad({sum}, {x}, {}, true, true)[0] / calls.clone();
  }
  Tensor weight, calls;
};
TORCH_MODULE(Differentiates);

// The same in a stack within a branch, where nothing is verified.
struct AroundImpl : torch::nn::Module {
  explicit AroundImpl(bool reversible)
      : reversible(reversible), f(register_module("f", Differentiates())) {}
  Tensor forward(const Tensor& x) {
    const auto run =
        reversible ? reversible_block : additive_coupling_of_branches;
    const auto [y1, y2] = run(f, f, x, x.tanh(), {}, {});
    return 0.1 * (y1 + y2);
  }
  static std::tuple<Tensor, Tensor> additive_coupling_of_branches(
      const Branch& f,
      const Branch& g,
      const Tensor& x1,
      const Tensor& x2,
      at::TensorList context,
      const ReversibleOptions&) {
    return additive_coupling(f, g, x1, x2, context);
  }
  bool reversible;
  Differentiates f;
};
TORCH_MODULE(Around);

// Stacks within branches, of which the inmost asks whether there is a graph.
Tensor nest_that_asks(
    bool reversible, int depth, const Tensor& x, const Tensor& weight) {
  if (depth == 0) {
    const auto y = x * weight;
    return y.requires_grad() ? y.tanh() : y.sin();
  }
  const auto f = Branch::function(
      [=](const Tensor& x, auto, at::TensorList parameters) {
        return nest_that_asks(reversible, depth - 1, x, parameters[0]);
      },
      {weight});
  const auto run =
      reversible ? reversible_block : AroundImpl::additive_coupling_of_branches;
  const auto [y1, y2] = run(f, f, x.sin(), x, {}, {});
  return 0.1 * (y1 + y2);
}

class UnverifiedTest : public FirstCallTest {
 protected:
  void expect_matches_plain(
      const Blocks& ours,
      const Blocks& plains,
      const ReversibleOptions& options = {}) const {
    for (int step = 0; step < 3; ++step) {
      EXPECT_TRUE(Matches(
          train(reversible(ours, options), inputs, parameters_of(ours)),
          train(plain(plains), inputs, parameters_of(plains)),
          kFloat64Tolerance));
      EXPECT_TRUE(BitEqual(ours[0].f.buffers(), plains[0].f.buffers()));
    }
  }
};

TEST_F(UnverifiedTest, BranchThatDifferentiatesIsGivenItsGraph) {
  const auto blocks = [] {
    return Blocks{{Differentiates(), Differentiates()}};
  };
  expect_matches_plain(
      blocks(), blocks(), ReversibleOptions().verify_first_call(false));
}

TEST_F(UnverifiedTest, StackWithinABranchMayDifferentiate) {
  expect_matches_plain({{Around(true), sine}}, {{Around(false), sine}});
}

// Nothing has verified that what it asks does not matter.
TEST_F(UnverifiedTest, StackWithinAStackWithinABranchMayAskForItsGraph) {
  const auto weight =
      torch::linspace(1, 2, kWidth, at::kDouble).requires_grad_();
  const auto asks = [&](bool reversible) {
    return Branch::function(
        [=](const Tensor& x, auto, at::TensorList parameters) {
          return nest_that_asks(reversible, 2, x, parameters[0]);
        },
        {weight});
  };
  expect_matches_plain({{asks(true), sine}}, {{asks(false), sine}});
}

TEST_F(UnverifiedTest, ErrorOfABranchLeavesTheStateOfOneCall) {
  bool throws = false;
  Differentiates f;
  const Branch failing = Branch::function(
      [&, calls = f->calls](const Tensor& x, auto, at::TensorList parameters) {
        calls.add_(1);
        TORCH_CHECK(!throws, "stop");
        return (x * parameters[0]).tanh();
      },
      {f->weight},
      {f->calls});
  const auto options = ReversibleOptions().verify_first_call(false);
  reversible_block(failing, sine, inputs.x1, inputs.x2, {}, options);
  throws = true;
  EXPECT_THROW(
      reversible_block(failing, sine, inputs.x1, inputs.x2, {}, options),
      c10::Error);
  EXPECT_EQ(f->calls.item<double>(), 2);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
