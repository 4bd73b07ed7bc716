#include "recompute/interception.h"

#include <torchrev/torchrev.h>

#include <thread>

#include "recompute/generator_moves.h"
#include "support/support.h"

// Operators of a branch, with generators and buffers of the recompute's own.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::BufferWatch;
using detail::DrawRecord;
using detail::Interception;
using detail::OwnGenerators;
using detail::PrivateBuffers;
using detail::RandomState;

constexpr int64_t kWidth = 6;

void draw_in_another_thread() {
  std::thread([] { torch::rand({3}); }).join();
}

class InterceptionTest : public testing::Test {
 protected:
  using Draw = std::function<std::vector<Tensor>()>;

  static std::vector<Tensor> recorded(DrawRecord& record, const Draw& draw) {
    Interception::Parts parts;
    parts.record = &record;
    const Interception interception(parts);
    return draw();
  }
  static std::vector<Tensor> again(const DrawRecord& record, const Draw& draw) {
    OwnGenerators own(record);
    Interception::Parts parts;
    parts.own = &own;
    const Interception interception(parts);
    return draw();
  }
  // Run with `buffer`, of which forward saw `value`.
  static void with_private(
      const Tensor& buffer,
      const Tensor& value,
      const std::function<void()>& run) {
    const PrivateBuffers buffers({{buffer, value}});
    Interception::Parts parts;
    parts.buffers = &buffers;
    const Interception interception(parts);
    run();
  }
  static void expect_replayed(const Draw& draw) {
    torch::manual_seed(5);
    const auto plain = draw();
    const auto end = RandomState::capture({});
    torch::manual_seed(5);
    const auto before = RandomState::capture({});
    DrawRecord record;
    EXPECT_TRUE(BitEqual(recorded(record, draw), plain));
    EXPECT_TRUE(RandomState::capture({}) == end);
    EXPECT_FALSE(before.was_moved());
    EXPECT_TRUE(BitEqual(again(record, draw), plain));
    EXPECT_TRUE(RandomState::capture({}) == end);
  }

  Tensor x = torch::rand({4, kWidth}, at::kDouble) + 0.1;
};

TEST_F(InterceptionTest, EveryKindOfDrawGivesItsNumbersAgain) {
  using Functions = std::vector<std::function<Tensor()>>;
  const Functions functions = {
      [&] { return torch::dropout(x, 0.5, true); },
      [&] { return torch::alpha_dropout(x, 0.5, true); },
      [&] { return torch::feature_dropout(x, 0.5, true); },
      [&] { return std::get<0>(at::native_dropout(x, 0.5, true)); },
      [&] { return at::rrelu(-x, 0.1, 0.9, true); },
      [&] { return torch::bernoulli(x / 2); },
      [&] { return torch::rand({5}); },
      [&] { return torch::randn({5}, at::kDouble); },
      [&] { return torch::randn({64}); },
      [&] { return torch::randint(100, {5}); },
      [&] { return torch::randperm(9); },
      [&] { return torch::rand_like(x); },
      [&] { return torch::multinomial(x, 2); },
      [&] { return torch::poisson(x); },
      [&] { return at::normal(0.0, x); },
      [&] { return torch::empty({5}).exponential_(); },
      [&] { return torch::empty({5}).geometric_(0.5); },
      [&] { return at::_sample_dirichlet(x); },
  };
  for (const auto& function : functions) {
    expect_replayed([&] {
      return std::vector<Tensor>{function(), function()};
    });
  }
}

TEST_F(InterceptionTest, DrawsOfAnotherThreadInBetweenAreNotReplayed) {
  bool disturbed = true;
  const auto draw = [&] {
    auto first = torch::rand({3});
    if (disturbed) {
      draw_in_another_thread();
    }
    return std::vector<Tensor>{first, torch::rand({3}), torch::rand({3})};
  };
  DrawRecord record;
  const auto before = RandomState::capture({});
  const auto values = recorded(record, draw);
  EXPECT_TRUE(before.was_moved());
  disturbed = false;
  EXPECT_TRUE(BitEqual(again(record, draw), values));
}

TEST_F(InterceptionTest, DrawsOfARecordedBranchOfAnotherThreadCountAsNoMove) {
  const auto draw = [&] {
    auto first = torch::rand({3});
    std::thread([] {
      DrawRecord other;
      recorded(other, [] { return std::vector<Tensor>{torch::rand({3})}; });
    }).join();
    return std::vector<Tensor>{first, torch::rand({3})};
  };
  DrawRecord record;
  const auto before = RandomState::capture({});
  const auto values = recorded(record, draw);
  EXPECT_FALSE(before.was_moved());
  EXPECT_TRUE(detail::other_threads_draw());
  EXPECT_TRUE(BitEqual(
      again(record, [] { return std::vector<Tensor>{torch::rand({3})}; })[0],
      values[0]));
  torch::rand({3});
  EXPECT_TRUE(before.was_moved());
}

TEST_F(InterceptionTest, AGeneratorOfTheUsersOwnIsLeftToTheUser) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(3);
  const auto draw = [&] {
    return std::vector<Tensor>{torch::empty({3}).uniform_(0, 1, generator)};
  };
  DrawRecord record;
  const auto first = recorded(record, draw);
  EXPECT_TRUE(record.empty());
  EXPECT_FALSE(BitEqual(again(record, draw), first));
  generator.set_current_seed(3);
  EXPECT_TRUE(BitEqual(draw(), first));
}

TEST_F(InterceptionTest, TheDefaultGeneratorGivenByNameIsTheDefaultOne) {
  const auto generator = at::detail::getDefaultCPUGenerator();
  expect_replayed([&] {
    return std::vector<Tensor>{torch::empty({3}).uniform_(0, 1, generator)};
  });
}

TEST_F(
    InterceptionTest, ARecordingWithinARecomputeSeesTheNumbersOfTheRecompute) {
  DrawRecord outer;
  const auto draw = [] { return std::vector<Tensor>{torch::rand({3})}; };
  const auto values = recorded(outer, draw);
  DrawRecord inner;
  EXPECT_TRUE(
      BitEqual(again(outer, [&] { return recorded(inner, draw); }), values));
  EXPECT_TRUE(BitEqual(again(inner, draw), values));
}

TEST_F(InterceptionTest, ARecomputeWithinARecordingTakesNoneOfItsNumbers) {
  const auto draw = [] { return std::vector<Tensor>{torch::rand({3})}; };
  DrawRecord inner;
  recorded(inner, draw);
  DrawRecord outer;
  const auto before = RandomState::capture({});
  recorded(outer, [&] { return again(inner, draw); });
  EXPECT_TRUE(outer.empty());
  EXPECT_TRUE(RandomState::capture({}) == before);
}

TEST_F(InterceptionTest, BuffersAreReadAndWrittenInPrivate) {
  const auto buffer = torch::full({kWidth}, 7.0), old = torch::ones({kWidth});
  const auto member = buffer;
  with_private(buffer, old, [&] {
    EXPECT_TRUE(BitEqual(member + 0, old));
    member.add_(1);
    member.index_put_({torch::zeros({1}, at::kLong)}, torch::zeros({1}));
    EXPECT_EQ(member.sum().item<float>(), 2 * (kWidth - 1));
    EXPECT_TRUE(BitEqual(torch::stack({member})[0], torch::cat({member})));
    EXPECT_TRUE(BitEqual(torch::stack({member})[0], member + 0));
  });
  EXPECT_TRUE(BitEqual(buffer, torch::full({kWidth}, 7.0)));
}

TEST_F(InterceptionTest, AnotherTensorOverABufferIsPrivateToo) {
  const auto memory = torch::arange(12.0);
  const auto buffer = memory.slice(0, 4, 8);
  const auto view = memory.slice(0, 6, 10);
  with_private(buffer, torch::zeros({4}), [&] {
    buffer.add_(1);
    EXPECT_TRUE(BitEqual(view + 0, torch::tensor({1.f, 1.f, 8.f, 9.f})));
    view.zero_();
    EXPECT_TRUE(BitEqual(buffer + 0, torch::tensor({1.f, 1.f, 0.f, 0.f})));
    EXPECT_TRUE(BitEqual(
        buffer.detach().data() + 0, torch::tensor({1.f, 1.f, 0.f, 0.f})));
  });
  EXPECT_TRUE(BitEqual(memory, torch::arange(12.0)));
}

TEST_F(InterceptionTest, TwoBuffersOverOneMemoryAreSoInPrivate) {
  const auto memory = torch::arange(4.0);
  const auto all = memory.view({2, 2});
  const PrivateBuffers buffers({{memory, memory + 1}, {all, all + 1}});
  EXPECT_TRUE(buffers.stand_in(memory).is_alias_of(buffers.stand_in(all)));
  EXPECT_FALSE(buffers.stand_in(memory).is_alias_of(memory));
  EXPECT_TRUE(BitEqual(buffers.stand_in(all), all + 1));
}

TEST_F(InterceptionTest, WhatAnOperatorInPlaceReturnsIsTheBufferItself) {
  const auto buffer = torch::ones({kWidth});
  auto op =
      torch::jit::compile("def twice(x: Tensor):\n    return x.mul_(2)\n");
  with_private(buffer, buffer, [&] {
    EXPECT_TRUE(buffer.add_(1).is_same(buffer));
    EXPECT_TRUE(op->run_method("twice", buffer).toTensor().is_same(buffer));
    EXPECT_EQ(buffer.sum().item<float>(), 4 * kWidth);
  });
  EXPECT_TRUE(BitEqual(buffer, torch::ones({kWidth})));
}

TEST_F(InterceptionTest, AWatchTellsWhichBuffersOperatorsTake) {
  const auto taken = torch::ones({1}), viewed = torch::ones({2}),
             left = torch::ones({1});
  BufferWatch watch({taken, viewed, left});
  Interception::Parts parts;
  parts.watch = &watch;
  {
    const Interception interception(parts);
    torch::cat({x, x * taken});
    viewed.slice(0, 0, 1).add_(1);
  }
  left.add_(1);
  EXPECT_EQ(watch.taken(), (std::vector<bool>{true, true, false}));
  EXPECT_EQ(watch.written(), (std::vector<bool>{false, true, false}));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
