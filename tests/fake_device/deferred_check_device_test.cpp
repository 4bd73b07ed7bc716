#include <ATen/core/dispatch/Dispatcher.h>

#include "fake_device/accelerator.h"

// Checks whose number arrives later belong to the stack that asked.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 8;

// Another result in each call.
struct UnsteadyImpl : torch::nn::Module {
  Tensor forward(const Tensor& x) {
    return x.tanh() + 10 * calls++;
  }
  double calls = 0;
};

// A model of its own.
struct Model {
  Blocks blocks;
  Inputs in = on_accelerator(random_inputs({4, kWidth}));
  ReversibleOptions options = ReversibleOptions().verify_first_call(false);

  // `unsteady` of its blocks, the first ones, are rebuilt wrongly.
  explicit Model(int64_t depth = 1, int64_t unsteady = 0) {
    for (int64_t i = 0; i < depth; ++i) {
      const auto g = on_accelerator(Branch(mlp(kWidth)));
      const Branch f = i < unsteady ? Branch(std::make_shared<UnsteadyImpl>())
                                    : on_accelerator(Branch(mlp(kWidth)));
      blocks.push_back({f, g});
    }
  }

  Tensor forward() const {
    const auto [y1, y2] =
        reversible_sequence(blocks, in.x1, in.x2, {}, options);
    return weighted_sum({y1, y2});
  }
  void step() const {
    forward().backward();
  }
};

class DeferredCheckDeviceTest : public FakeDeviceTest {
 protected:
  void SetUp() override {
    FakeDeviceTest::SetUp();
    if (!IsSkipped()) {
      try {
        check_deferred();
      } catch (const c10::Error&) {
        // Of a test before.
      }
    }
  }
  static std::string error_of(const std::function<void()>& fn) {
    try {
      fn();
    } catch (const c10::ValueError& error) {
      return message_of(error);
    }
    return "";
  }
};

TEST_F(DeferredCheckDeviceTest, StepThatFailsDoesNotWaitForItsNumber) {
  const Model drifting(1, 1);
  EXPECT_EQ(waits_of([&] { EXPECT_NO_THROW(drifting.step()); }), 0);
}

TEST_F(DeferredCheckDeviceTest, NextCallOfTheOwnerThrowsOnceTheNumberArrived) {
  const Model drifting(1, 1);
  drifting.step();
  EXPECT_NO_THROW(drifting.forward());
  timeline().advance_to_the_end();
  EXPECT_THROW_WITH(
      drifting.forward(), c10::ValueError, "before block 0", "drift_tolerance");
  EXPECT_NO_THROW(drifting.forward());
  EXPECT_NO_THROW(check_deferred());
}

TEST_F(DeferredCheckDeviceTest, NoOtherModelGetsTheError) {
  const Model drifting(1, 1);
  const Model healthy;
  drifting.step();
  timeline().advance_to_the_end();
  EXPECT_NO_THROW(healthy.step());
  EXPECT_NO_THROW(healthy.step());
  EXPECT_THROW(drifting.forward(), c10::ValueError);
}

// Although one of them is the same, the first or the last.
TEST_F(DeferredCheckDeviceTest, NoModelWithOtherBlocksGetsTheError) {
  for (const std::size_t shared : {0, 1}) {
    Model drifting(2, 1);
    // The healthy one is shared.
    std::swap(drifting.blocks[shared], drifting.blocks[1]);
    Model other(2);
    other.blocks[shared] = drifting.blocks[shared];
    drifting.step();
    timeline().advance_to_the_end();
    EXPECT_NO_THROW(other.step());
    EXPECT_THROW(drifting.forward(), c10::ValueError);
  }
}

TEST_F(DeferredCheckDeviceTest, WhatFailsTogetherIsOneError) {
  const Model drifting(4, 4);
  drifting.step();
  timeline().advance_to_the_end();
  EXPECT_THROW_WITH(
      drifting.forward(),
      c10::ValueError,
      "before block 0",
      "before block 1",
      "before block 2",
      "before block 3");
  EXPECT_NO_THROW(drifting.forward());
}

// The numbers of a pass arrive one by one.
TEST_F(DeferredCheckDeviceTest, ErrorWaitsForTheLastNumberOfItsRun) {
  const Model drifting(4, 4);
  auto loss = drifting.forward();
  const auto before = timeline().done({0, 0});
  loss.backward();
  const auto after = timeline().done({0, 0});
  timeline().advance(before + (after - before) * 3 / 4 - timeline().now());
  EXPECT_NO_THROW(drifting.forward());
  timeline().advance_to_the_end();
  EXPECT_THROW_WITH(
      drifting.forward(), c10::ValueError, "before block 0", "before block 3");
}

TEST_F(DeferredCheckDeviceTest, BackwardThrowsIfAllHasArrivedAtItsEnd) {
  const Model drifting(2, 2);
  const auto& in = drifting.in;
  const auto late = [this](const Tensor&) { timeline().advance_to_the_end(); };
  in.x1.register_hook(late);
  in.x2.register_hook(late);
  const auto [y1, y2] =
      reversible_sequence(drifting.blocks, in.x1, in.x2, {}, drifting.options);
  const auto loss = weighted_sum({y1, y2});
  EXPECT_THROW_WITH(
      loss.backward(), c10::ValueError, "before block 0", "before block 1");
  EXPECT_NO_THROW(check_deferred());
}

TEST_F(DeferredCheckDeviceTest, CheckDeferredReportsAllOwnersInOneError) {
  const Model first(2, 1);
  Model second;
  second.options.fraction_bits(51);
  first.step();
  second.forward();
  EXPECT_THROW_WITH(
      check_deferred(), c10::ValueError, "drift_tolerance", "fraction_bits");
  EXPECT_NO_THROW(check_deferred());
  EXPECT_NO_THROW(first.forward());
}

TEST_F(DeferredCheckDeviceTest, CheckDeferredAsAnOperatorDoesTheSame) {
  const Model drifting(1, 1);
  drifting.step();
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(
      "torchrev::check_deferred", "");
  torch::jit::Stack stack;
  EXPECT_THROW_WITH(op.callBoxed(&stack), c10::ValueError, "drift_tolerance");
}

TEST_F(DeferredCheckDeviceTest, ModelThatIsGoneAsksNoMore) {
  { Model(1, 1).step(); }
  EXPECT_NO_THROW(check_deferred());
}

// Not for what was given to the stream afterwards.
TEST_F(DeferredCheckDeviceTest, CheckDeferredWaitsForTheNumberAlone) {
  const Model drifting(1, 1);
  drifting.step();
  auto x = torch::ones({4}, torch::device(device));
  for (int i = 0; i < 100; ++i) {
    x.add_(1);
  }
  EXPECT_THROW(check_deferred(), c10::ValueError);
  EXPECT_LT(timeline().now() + 90, timeline().done({0, 0}));
}

TEST_F(DeferredCheckDeviceTest, EachThreadGetsTheErrorsOfItsOwnModel) {
  std::vector<std::string> errors(2);
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([i, &errors] {
      const Model model(1, /*unsteady=*/i);
      for (int step = 0; step < 10; ++step) {
        const auto error = error_of([&] {
          model.step();
          timeline().advance_to_the_end();
          model.forward();
        });
        errors[i] = error.empty() ? errors[i] : error;
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(errors[0], "");
  EXPECT_TRUE(Mentions(errors[1], {"drift_tolerance"}));
}

// Number after number, none of which is wrong: nothing piles up.
TEST_F(DeferredCheckDeviceTest, WhatWasJudgedIsFreed) {
  const Model healthy;
  const auto step = [&] {
    healthy.step();
    synchronize();
    healthy.forward();
  };
  step();
  synchronize();
  const auto before = MemoryMeter::live();
  for (int i = 0; i < 5; ++i) {
    step();
  }
  synchronize();
  EXPECT_EQ(MemoryMeter::live(), before);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
