#include <ATen/Parallel.h>
#include <torchrev/torchrev.h>

#include <future>

#include "support/support.h"

// Forward runs without a graph, and a branch that asks for grad mode finds what
// plain autograd would show it.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

// forward is `body`, which may use a parameter, a buffer and a member.
struct UnitImpl : torch::nn::Module {
  using Body = std::function<Tensor(UnitImpl&, const Tensor&)>;

  explicit UnitImpl(Body body)
      : body(std::move(body)),
        weight(register_parameter(
            "weight", torch::linspace(1, 2, kWidth, at::kDouble))),
        count(register_buffer("count", torch::zeros({}, at::kDouble))) {}
  Tensor forward(const Tensor& x) {
    return body(*this, x);
  }
  Body body;
  Tensor weight, count, member;
  bool ready = false;
};
TORCH_MODULE(Unit);

class GradModeTest : public testing::Test {
 protected:
  // Two steps of blocks around branches with this body, against plain autograd.
  void expect_matches_plain(const UnitImpl::Body& body) {
    const auto make = [&body] {
      return Blocks{{Unit(body), Unit(body)}, {Unit(body), Unit(body)}};
    };
    const auto ours = make(), twin = make();
    for (int step = 0; step < 2; ++step) {
      torch::manual_seed(1);
      const auto expected = train(plain(twin), inputs, parameters_of(twin));
      torch::manual_seed(1);
      EXPECT_TRUE(Matches(
          train(reversible(ours), inputs, parameters_of(ours)),
          expected,
          kFloat64Tolerance));
      for (std::size_t i = 0; i < ours.size(); ++i) {
        const auto &a = ours[i], &b = twin[i];
        EXPECT_TRUE(BitEqual(a.f.buffers()[0], b.f.buffers()[0]));
        EXPECT_TRUE(AllClose(a.g.parameters()[0], b.g.parameters()[0], 1e-12));
      }
    }
  }

  Inputs inputs = random_inputs({6, kWidth});
};

TEST_F(GradModeTest, IsOnInForwardAsInTheRecompute) {
  std::vector<bool> seen;
  const Unit f([&seen](UnitImpl& self, const Tensor& x) {
    seen.push_back(at::GradMode::is_enabled());
    return x * self.weight;
  });
  const auto [y1, y2] = reversible_block(f, f, inputs.x1, inputs.x2);
  (y1 + y2).sum().backward();
  EXPECT_EQ(seen, std::vector<bool>(seen.size(), true));
  seen.clear();
  const at::NoGradGuard no_grad;
  reversible_block(f, f, inputs.x1, inputs.x2);
  EXPECT_EQ(seen, std::vector<bool>(2, false));
}

TEST_F(GradModeTest, StatisticsThatAskForItAdvance) {
  expect_matches_plain([](UnitImpl& self, const Tensor& x) {
    if (at::GradMode::is_enabled()) {
      self.count.add_(1);
    }
    return (x * self.weight).tanh();
  });
}

TEST_F(GradModeTest, BranchThatDifferentiatesMatchesPlain) {
  expect_matches_plain([](UnitImpl& self, const Tensor& x) {
    const auto sum = (x * self.weight).sin().sum();
    return torch::autograd::grad({sum}, {x}, {}, true, true)[0];
  });
}

// An auxiliary loss that a branch leaves in a member.
TEST_F(GradModeTest, BackwardThroughWhatABranchKeepsIsAnError) {
  const auto body = [](UnitImpl& self, const Tensor& x) {
    self.member = (x * self.weight).pow(2).mean();
    return (x * self.weight).tanh();
  };
  const Unit f(body), g(body);
  const Blocks blocks = {{f, g}, {Unit(body), Unit(body)}};
  for (int step = 0; step < 2; ++step) {
    const auto [y1, y2] = reversible(blocks)(inputs);
    const auto loss = weighted_sum({y1, y2});
    EXPECT_THROW_WITH(
        (loss + g->member).backward(),
        c10::ValueError,
        "torchrev::Branch",
        "keeps, in a member or an attribute",
        "detach()");
  }
  // Nobody uses it: no alarm.
  EXPECT_NO_THROW(train(reversible(blocks), inputs, parameters_of(blocks)));
  // What backward leaves there has lost its graph as well.
  EXPECT_THROW_WITH(g->member.backward(), c10::ValueError, "torchrev::Branch");
}

// The graph of the call takes the place of another one, of a call outside of
// torchrev: as many hold the nodes of its parameters after it as before.
TEST_F(GradModeTest, WhatTakesThePlaceOfAGraphOfAnEarlierCallMatchesPlain) {
  const auto body = [](UnitImpl& self, const Tensor& x) {
    self.member = self.weight * self.weight.norm();
    return (x * self.member).tanh();
  };
  const auto gradients = [&](auto stack_of) {
    Unit f(body), g(body);
    f->forward(inputs.x2);
    g->forward(inputs.x1);
    const Blocks blocks = {{f, g}};
    const auto [y1, y2] = stack_of(blocks)(inputs);
    const auto kept = f->member.sum() + 2 * g->member.sum();
    return torch::autograd::grad(
        {weighted_sum({y1, y2}) + kept}, {f->weight, g->weight, inputs.x1});
  };
  EXPECT_TRUE(AllClose(
      gradients([](const Blocks& blocks) { return reversible(blocks); }),
      gradients([](const Blocks& blocks) { return plain(blocks); }),
      kFloat64Tolerance));
}

// A weight that a module computes of its parameters alone has its own graph,
// also where it takes the place of the one that an earlier call has left.
TEST_F(GradModeTest, WhatAMemberKeepsOfParametersAloneMatchesPlain) {
  const auto body = [](UnitImpl& self, const Tensor& x) {
    self.member = self.weight * self.weight.norm();
    return (x * self.member).tanh();
  };
  const std::vector<Unit> ours = {Unit(body), Unit(body)},
                          twins = {Unit(body), Unit(body)};
  const auto gradients = [&](const std::vector<Unit>& units, auto stack_of) {
    const Blocks blocks = {{units[0], units[1]}};
    const auto [y1, y2] = stack_of(blocks)(inputs);
    const auto kept = units[0]->member.sum() + 2 * units[1]->member.sum();
    return torch::autograd::grad(
        {weighted_sum({y1, y2}) + kept},
        {units[0]->weight, units[1]->weight, inputs.x1});
  };
  for (const bool training : {true, false, true}) {
    for (auto unit : ours) {
      unit->train(training);
    }
    EXPECT_TRUE(AllClose(
        gradients(ours, [](const Blocks& b) { return reversible(b); }),
        gradients(twins, [](const Blocks& b) { return plain(b); }),
        kFloat64Tolerance));
  }
}

// A custom Function makes a node whatever forward does.
TEST_F(GradModeTest, BytesOfAStackWithinABranchEndWithTheCall) {
  const auto nested = [](int64_t depth) {
    const auto blocks = mlp_blocks(depth, kWidth);
    Unit outer([blocks](UnitImpl& self, const Tensor& x) {
      const auto [y1, y2] = reversible_sequence(blocks, x, x * self.weight);
      return 0.1 * (y1 + y2);
    });
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      outer->register_module("f" + std::to_string(i), blocks[i].f.module());
      outer->register_module("g" + std::to_string(i), blocks[i].g.module());
    }
    return outer;
  };
  std::vector<int64_t> retained;
  for (const int64_t depth : {1, 4}) {
    const auto f = nested(depth);
    for (int step = 0; step < 2; ++step) {
      const auto before = MemoryMeter::live();
      const auto y = reversible_block(f, f, inputs.x1, inputs.x2);
      retained.push_back(MemoryMeter::live() - before);
    }
  }
  EXPECT_EQ(retained, std::vector<int64_t>(4, retained[0]));
}

TEST_F(GradModeTest, BranchThatComputesInAThreadPoolMatchesPlain) {
  expect_matches_plain([](UnitImpl& self, const Tensor& x) {
    const auto parts = x.chunk(2);
    const auto value = [&](int i) { return (parts[i] * self.weight).tanh(); };
    std::promise<Tensor> second;
    at::launch([&] { second.set_value(value(1)); });
    return torch::cat({value(0), second.get_future().get()});
  });
}

// Its writes belong to forward; the recompute does not write again.
TEST_F(GradModeTest, EmbeddingWithMaxNormMatchesPlain) {
  expect_matches_plain([](UnitImpl& self, const Tensor& x) {
    const auto index = torch::arange(2);
    {
      const at::NoGradGuard no_grad;
      auto table = self.weight.detach().view({2, -1});
      at::embedding_renorm_(table, index, 0.5, 2.0);
    }
    return (x * self.weight).tanh();
  });
}

TEST_F(GradModeTest, InitialisationByTheFirstForwardMatchesPlain) {
  for (const bool by_buffer : {false, true}) {
    expect_matches_plain([by_buffer](UnitImpl& self, const Tensor& x) {
      if (by_buffer ? self.count.item<double>() == 0 : !self.ready) {
        const at::NoGradGuard no_grad;
        self.weight.copy_(1 / (1 + x.std(0)));
        self.count.fill_(1);
        self.ready = true;
      }
      return (x * self.weight).tanh();
    });
  }
}

// Sets its weight, once, to what suits its input.
Tensor initialise(UnitImpl& self, const Tensor& x) {
  if (self.count.item<double>() == 0) {
    const at::NoGradGuard no_grad;
    self.weight.copy_(1 / (1 + x.std(0)));
    self.count.fill_(1);
  }
  return (x * self.weight).tanh();
}

// The second pass reads what the recompute has saved after it wrote.
TEST_F(GradModeTest, SecondDerivativesOfABranchThatInitialisesMatchPlain) {
  const auto product = [this](auto stack_of) {
    const Blocks blocks = {
        {Unit(initialise), Unit(initialise)},
        {Unit(initialise), Unit(initialise)}};
    auto wanted = parameters_of(blocks);
    wanted.insert(wanted.end(), {inputs.x1, inputs.x2});
    const auto [y1, y2] = stack_of(blocks)(inputs);
    const auto first = torch::autograd::grad(
        {weighted_sum({y1, y2})}, wanted, {}, true, /*create_graph=*/true);
    return torch::autograd::grad({weighted_sum(first)}, wanted);
  };
  EXPECT_TRUE(AllClose(
      product([](const Blocks& blocks) { return reversible(blocks); }),
      product([](const Blocks& blocks) { return plain(blocks); }),
      kFloat64Tolerance));
}

// An evaluation that comes between forward and backward writes again what is
// there already.
TEST_F(GradModeTest, EvaluationMayRenormaliseBetweenForwardAndBackward) {
  const auto renormalise = [](UnitImpl& self, const Tensor& x) {
    {
      const at::NoGradGuard no_grad;
      auto table = self.weight.detach().view({2, -1});
      at::embedding_renorm_(table, torch::arange(2), 0.5, 2.0);
    }
    return (x * self.weight.clone()).tanh();
  };
  const Blocks blocks = {
      {Unit(renormalise), Unit(renormalise)},
      {Unit(renormalise), Unit(renormalise)}};
  const auto parameters = parameters_of(blocks);
  const auto expected = train(plain(blocks), inputs, parameters);
  for (int step = 0; step < 2; ++step) {
    const auto [y1, y2] = reversible(blocks)(inputs);
    for (const auto& block : blocks) {
      block.f.module()->eval();
      block.g.module()->eval();
    }
    {
      const at::NoGradGuard no_grad;
      reversible(blocks)(inputs);
    }
    const auto found =
        torch::autograd::grad({weighted_sum({y1, y2})}, parameters);
    EXPECT_TRUE(AllClose(
        found,
        {expected.gradients.end() - static_cast<int64_t>(parameters.size()),
         expected.gradients.end()},
        kFloat64Tolerance));
  }
}

TEST_F(GradModeTest, ParameterThatAMemberLosesIsAnError) {
  for (const bool trained : {false, true}) {
    const auto body = [](UnitImpl& self, const Tensor& x) {
      return (x * self.weight).tanh();
    };
    Unit g(body);
    const Blocks blocks = {{Unit(body), g}, {Unit(body), Unit(body)}};
    const auto [y1, y2] = reversible(blocks)(inputs);
    const auto loss = weighted_sum({y1, y2});
    g->weight = (g->weight * 1.01).detach().requires_grad_(trained);
    EXPECT_THROW_WITH(
        loss.backward(),
        c10::ValueError,
        "torchrev::reversible_sequence",
        "G of block 0",
        "all backward");
  }
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
