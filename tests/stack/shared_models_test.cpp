#include <torchrev/torchrev.h>

#include <chrono>
#include <future>
#include <mutex>
#include <thread>

#include "support/support.h"

// Random numbers and buffers, which are one for all threads, in programs with
// threads.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using torch::autograd::grad;

constexpr int64_t kWidth = 8;
constexpr int kThreads = 4;
constexpr int kSteps = 60;

void in_threads(const std::function<void(int)>& run) {
  std::vector<std::future<void>> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.push_back(std::async(std::launch::async, run, i));
  }
  for (auto& thread : threads) {
    thread.get();
  }
}

// x times a mask, which shows in the output.
Branch masking() {
  torch::nn::Dropout dropout(0.5);
  return dropout;
}

class SharedModelsTest : public testing::Test {
 protected:
  // One step of F and G that mask: whether its gradients are those of the masks
  // that its forward shows.
  static testing::AssertionResult step_is_right(const Blocks& blocks) {
    return step_is_right(
        blocks,
        torch::rand({3, kWidth}, at::kDouble) + 1,
        torch::rand({3, kWidth}, at::kDouble) + 1);
  }
  static testing::AssertionResult step_is_right(
      const Blocks& blocks,
      Tensor x1,
      Tensor x2,
      const ReversibleOptions& options = {}) {
    x1.requires_grad_();
    x2.requires_grad_();
    const auto [y1, y2] = reversible_sequence(blocks, x1, x2, {}, options);
    const auto f = ((y1 - x1) / x2).detach(), g = ((y2 - x2) / y1).detach();
    const auto gradients = grad({(y1 + y2).sum()}, {x1, x2});
    const auto one = torch::ones_like(f);
    return AllClose(
        gradients, {one + g, one + f * (one + g)}, kFloat64Tolerance);
  }
};

TEST_F(SharedModelsTest, ModelsInThreadsGetTheGradientsOfTheirOwnMasks) {
  in_threads([](int) {
    const Blocks blocks = {{masking(), masking()}};
    for (int step = 0; step < kSteps; ++step) {
      EXPECT_TRUE(step_is_right(blocks));
    }
  });
}

TEST_F(SharedModelsTest, OneModelInThreadsGetsTheGradientsOfItsMasks) {
  const Blocks blocks = {{masking(), masking()}};
  in_threads([&](int) {
    for (int step = 0; step < kSteps; ++step) {
      EXPECT_TRUE(step_is_right(blocks));
    }
  });
}

// Nothing has shown that their draws are those of operators alone. Nobody draws
// but their branches.
TEST_F(SharedModelsTest, ModelsThatAreNotVerifiedGetTheirMasksInThreads) {
  const auto options = ReversibleOptions().verify_first_call(false);
  in_threads([&](int) {
    const Blocks blocks = {{masking(), masking()}};
    for (int step = 0; step < kSteps; ++step) {
      EXPECT_TRUE(step_is_right(
          blocks,
          torch::full({3, kWidth}, 1.5, at::kDouble),
          torch::full({3, kWidth}, 1.25, at::kDouble),
          options));
    }
  });
}

TEST_F(SharedModelsTest, AThreadThatOnlyDrawsDisturbsNoModel) {
  std::atomic<bool> done{false};
  auto stranger = std::async(std::launch::async, [&] {
    while (!done) {
      torch::rand({7});
    }
  });
  const auto train = [](int) {
    const Blocks blocks = {{masking(), masking()}};
    for (int step = 0; step < kSteps; ++step) {
      EXPECT_TRUE(step_is_right(blocks));
    }
  };
  EXPECT_NO_THROW(in_threads(train));
  done = true;
  stranger.get();
}

// The plain stack is disturbed in the same places.
TEST_F(SharedModelsTest, DrawsOfAnotherThreadWithinABranchMatchPlain) {
  const auto branch = [] {
    return Branch::function([](const Tensor& x, auto, auto) {
      const auto first = torch::dropout(x, 0.4, true);
      std::thread([] { torch::rand({3}); }).join();
      return torch::dropout(first, 0.4, true) * torch::rand({1});
    });
  };
  const Blocks blocks = {{branch(), branch()}, {branch(), branch()}};
  const auto inputs = random_inputs({3, kWidth});
  // In first calls, which run twice, the other thread draws twice.
  train(reversible(blocks), inputs, {});
  EXPECT_TRUE(MatchesPlain(blocks, inputs));
}

// A branch that drew nothing in its first call, and draws later.
TEST_F(SharedModelsTest, DrawsOfALaterCallOnlyAreReplayed) {
  bool draws = false;
  const Branch branch = Branch::function([&](const Tensor& x, auto, auto) {
    return draws ? torch::dropout(x, 0.5, true) : torch::dropout(x, 0.5, false);
  });
  for (int step = 0; step < 4; ++step) {
    EXPECT_TRUE(step_is_right({{branch, branch}}));
    draws = true;
  }
}

TEST_F(SharedModelsTest, NestedDrawsOfALaterCallOnlyAreReplayed) {
  bool draws = false;
  const Branch inner = Branch::function([&](const Tensor& x, auto, auto) {
    return draws ? torch::dropout(x, 0.5, true) : torch::tanh(x);
  });
  torchrev::nn::ReversibleBlock nested(inner, inner);
  const Branch outer = nested;
  const auto inputs = random_inputs({3, kWidth});
  for (int step = 0; step < 4; ++step) {
    EXPECT_TRUE(MatchesPlain({{outer, outer}}, inputs));
    draws = true;
  }
}

// Asks the default generator itself, past all operators.
Branch drawing_directly(const std::function<void()>& then = [] {}) {
  return Branch::function([then](const Tensor& x, auto, auto) {
    auto generator = at::detail::getDefaultCPUGenerator();
    double factor = 0;
    {
      const std::lock_guard<std::mutex> lock(generator.mutex());
      factor =
          at::check_generator<at::CPUGeneratorImpl>(generator)->random() % 7;
    }
    then();
    return x * (1 + factor);
  });
}

TEST_F(SharedModelsTest, NumbersThatNoOperatorDrawsAreReplayed) {
  EXPECT_TRUE(MatchesPlain(
      {{drawing_directly(), drawing_directly()}}, random_inputs({3, kWidth})));
}

TEST_F(
    SharedModelsTest,
    NumbersThatNoOperatorDrawsAreAnErrorWhereAnotherThreadDraws) {
  bool disturbs = false;
  const auto branch = drawing_directly([&] {
    if (disturbs) {
      std::thread([] { torch::rand({3}); }).join();
    }
  });
  step_is_right({{branch, branch}});
  disturbs = true;
  const auto x = torch::rand({3, kWidth}, torch::requires_grad());
  const auto [y1, y2] = reversible_block(branch, branch, x, x);
  const Tensor loss = (y1 + y2).sum();
  disturbs = false;
  EXPECT_THROW_WITH(
      loss.backward(),
      c10::ValueError,
      "to draw what forward did",
      "another thread drew");
}

// A thread that a branch does not know of, and that draws as often in each of
// its calls as in all others, now before the branch does, now after it.
class RegularStranger {
 public:
  RegularStranger() {
    thread_ = std::thread([this] {
      while (!done_) {
        {
          const std::lock_guard<std::mutex> lock(turn_);
          torch::rand({3});
        }
        std::this_thread::sleep_for(std::chrono::microseconds(300));
      }
    });
  }
  ~RegularStranger() {
    done_ = true;
    thread_.join();
  }

  Branch masking_beside_it() {
    return Branch::function([this](const Tensor& x, auto, auto) {
      const std::lock_guard<std::mutex> lock(turn_);
      const auto draw_elsewhere = [this](bool now) {
        if (now) {
          std::thread([] { torch::rand({3}); }).join();
        }
      };
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
      draw_elsewhere(draws_before);
      auto out = torch::dropout(x, 0.5, true);
      draw_elsewhere(!draws_before);
      return out;
    });
  }

  bool draws_before = true;

 private:
  std::atomic<bool> done_{false};
  std::mutex turn_;
  std::thread thread_;
};

TEST_F(SharedModelsTest, AThreadThatDrawsOnceInEachCallIsNotTakenForTheBranch) {
  RegularStranger stranger;
  const auto branch = stranger.masking_beside_it();
  auto x = torch::rand({3, kWidth}, at::kDouble) + 1;
  reversible_block(branch, branch, x.requires_grad_(), x);
  const auto [y1, y2] = reversible_block(branch, branch, x, x);
  const auto f = ((y1 - x) / x).detach(), g = ((y2 - x) / y1).detach();
  stranger.draws_before = false;
  const auto gradient = grad({(y1 + y2).sum()}, {x})[0];
  EXPECT_TRUE(AllClose(gradient, (1 + f) * (1 + g) + 1, kFloat64Tolerance));
}

// Nothing has shown that the draws of the branch are those of operators alone.
TEST_F(SharedModelsTest, AsManyDrawsOfAnotherThreadElsewhereInACallAreAnError) {
  const auto options = ReversibleOptions().verify_first_call(false);
  bool draws_before = true;
  const auto branch = Branch::function([&](const Tensor& x, auto, auto) {
    const auto draw = [] { std::thread([] { torch::rand({3}); }).join(); };
    if (draws_before) {
      draw();
    }
    auto out = torch::dropout(x, 0.5, true);
    if (!draws_before) {
      draw();
    }
    return out;
  });
  const auto x = torch::rand({3, kWidth}, torch::requires_grad());
  const auto [y1, y2] = reversible_block(branch, branch, x, x, {}, options);
  const Tensor loss = (y1 + y2).sum();
  draws_before = false;
  EXPECT_THROW_WITH(
      loss.backward(),
      c10::ValueError,
      "to draw what forward did",
      "another thread drew");
}

// Forward runs of a plain model take turns here, as its counter is a number in
// memory; recomputes do not.
TEST_F(SharedModelsTest, BatchNormOfOneModelCountsAllStepsOfAllThreads) {
  torch::nn::BatchNorm1d f(kWidth), g(kWidth);
  f->to(at::kDouble);
  g->to(at::kDouble);
  const Blocks blocks = {{f, g}};
  std::mutex forward;
  in_threads([&](int) {
    for (int step = 0; step < kSteps; ++step) {
      auto x = torch::rand({3, kWidth}, at::kDouble).requires_grad_();
      std::tuple<Tensor, Tensor> y;
      {
        const std::lock_guard<std::mutex> lock(forward);
        y = reversible_sequence(blocks, x, x);
      }
      (std::get<0>(y) * std::get<1>(y)).sum().backward();
    }
  });
  EXPECT_EQ(f->num_batches_tracked.item<int64_t>(), kThreads * kSteps);
  EXPECT_EQ(g->num_batches_tracked.item<int64_t>(), kThreads * kSteps);
}

TEST_F(SharedModelsTest, FirstCallsOfOneBatchNormAtOnceLearnTheSame) {
  for (int round = 0; round < 10; ++round) {
    torch::nn::BatchNorm1d f(kWidth), g(kWidth);
    in_threads([&](int) {
      for (int step = 0; step < 3; ++step) {
        auto x = torch::rand({3, kWidth}).requires_grad_();
        const auto [y1, y2] = reversible_block(f, g, x, x);
        EXPECT_NO_THROW((y1 * y2).sum().backward());
      }
    });
  }
}

// A scripted module that counts in a list, which its output shows.
TEST_F(SharedModelsTest, AttributesOfOneScriptedModelAreThoseOfEachForward) {
  torch::jit::Module module("Counting");
  module.register_attribute(
      "calls", c10::ListType::ofInts(), c10::List<int64_t>({1}));
  module.define(
      "def forward(self, x):\n    self.calls[0] += 1\n"
      "    return x * self.calls[0]\n");
  const Blocks blocks = {{module, module}};
  std::mutex forward;
  in_threads([&](int) {
    for (int step = 0; step < kSteps; ++step) {
      auto x = torch::ones({1}, at::kDouble).requires_grad_();
      std::tuple<Tensor, Tensor> y;
      {
        const std::lock_guard<std::mutex> lock(forward);
        y = reversible_sequence(blocks, x, x.detach());
      }
      const auto [y1, y2] = y;
      const double g = ((y2 - 1) / y1).item<double>();
      const auto gradient = grad({y1 + y2}, {x})[0].item<double>();
      EXPECT_NEAR(gradient, 1 + g, 1e-9 * g);
    }
  });
  EXPECT_GE(module.attr("calls").toIntVector()[0], 1 + 2 * kThreads * kSteps);
}

// A reentrant backward of this depth runs in several threads of the engine.
TEST_F(SharedModelsTest, ModulesWithStateNestedSeventyDeepDoNotHang) {
  torch::nn::Sequential innermost(
      torch::nn::BatchNorm1d(1), torch::nn::Dropout(0.5));
  innermost->to(at::kDouble);
  Branch branch = innermost;
  int64_t width = 2;
  for (int depth = 0; depth < 70; ++depth) {
    torchrev::nn::ReversibleBlock block(
        branch,
        Branch::function([](const Tensor& x, auto, auto) { return x; }),
        ReversibleOptions().duplicate());
    branch = block;
  }
  width = 1;
  auto result = std::make_shared<std::promise<void>>();
  auto done = result->get_future();
  std::thread([branch, width, result] {
    auto x = torch::rand({3, width}, at::kDouble).requires_grad_();
    const auto [y1, y2] = reversible_block(branch, branch, x, x);
    (y1 * y2).sum().backward();
    result->set_value();
  }).detach();
  // Far more than it takes: a hang is a failure here, not one of ctest.
  EXPECT_EQ(done.wait_for(std::chrono::minutes(2)), std::future_status::ready);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
