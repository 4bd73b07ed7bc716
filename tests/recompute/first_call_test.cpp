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

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
