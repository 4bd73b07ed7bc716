#include "stack/relay.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include "device/recording_device.h"
#include "stack/stack.h"
#include "support/support.h"

// Hands the rebuilt pair from step to step within a backward pass.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::Relay;
using detail::StreamObserver;
using detail::StreamPair;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

using Fn = std::function<void()>;

struct HeldFn : torch::CustomClassHolder {
  explicit HeldFn(Fn fn) : fn(std::move(fn)) {}
  Fn fn;
};

// The identity; its backward calls `fn`.
struct Calling : torch::autograd::Function<Calling> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Fn& fn) {
    ctx->saved_data["fn"] =
        c10::IValue::make_capsule(c10::make_intrusive<HeldFn>(fn));
    return x.clone();
  }
  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    c10::static_intrusive_pointer_cast<HeldFn>(
        ctx->saved_data["fn"].toCapsule())
        ->fn();
    return {grads[0], Tensor()};
  }
};

// Calls each of `fns`, in its turn, in a node of one backward pass; may itself
// be called in another one.
void in_pass(const std::vector<Fn>& fns) {
  const torch::AutoGradMode grad_mode(true);
  auto y = torch::zeros({1}).requires_grad_();
  for (auto fn = fns.rbegin(); fn != fns.rend(); ++fn) {
    y = Calling::apply(y, *fn);
  }
  y.backward();
}

StreamPair pair_of(double number) {
  return {torch::full({3}, number), torch::full({3}, -number)};
}

bool holds(const StreamPair& pair, double number) {
  return pair.defined() && BitEqual(pair[0], torch::full({3}, number)) &&
         BitEqual(pair[1], torch::full({3}, -number));
}

const StepId kF2{2, Role::kF};
const StepId kG2{2, Role::kG};
const StepId kF3{3, Role::kF};
const StepId kG3{3, Role::kG};

class RelayTest : public testing::Test {
 protected:
  Relay relay;
};

TEST_F(RelayTest, PairGoesFromStepToStep) {
  in_pass({
      [&] { relay.begin(kG3, pair_of(1), false); },
      [&] {
        EXPECT_TRUE(holds(relay.take(kG3), 1));
        relay.put(kF3, pair_of(2));
      },
      [&] { EXPECT_TRUE(holds(relay.take(kF3), 2)); },
  });
}

// Invariant 1: the pass owns its slot.
TEST_F(RelayTest, PassThatEndsFreesThePair) {
  const auto before = MemoryMeter::live();
  in_pass({[&] { relay.begin(kG3, pair_of(1), false); }});
  EXPECT_EQ(MemoryMeter::live(), before);
}

TEST_F(RelayTest, PassThatThrowsFreesThePair) {
  const auto before = MemoryMeter::live();
  EXPECT_ANY_THROW(in_pass({
      [&] { relay.begin(kG3, pair_of(1), false); },
      [] { TORCH_CHECK(false, "from a node of a stranger's"); },
  }));
  EXPECT_EQ(MemoryMeter::live(), before);
}

// Invariant 2: a slot is for one step.
TEST_F(RelayTest, TakeSucceedsOnce) {
  in_pass({[&] {
    relay.begin(kG3, pair_of(1), false);
    EXPECT_TRUE(relay.take(kG3).defined());
    EXPECT_FALSE(relay.take(kG3).defined());
  }});
}

TEST_F(RelayTest, TakeSucceedsForTheStepAlone) {
  in_pass({[&] {
    relay.begin(kG3, pair_of(1), false);
    for (const auto& other : {kF3, kG2, kF2}) {
      EXPECT_FALSE(relay.take(other).defined());
    }
    EXPECT_TRUE(holds(relay.take(kG3), 1));
  }});
}

TEST_F(RelayTest, PairThatIsPutReplacesTheOneBefore) {
  in_pass({[&] {
    relay.begin(kG3, pair_of(1), false);
    relay.put(kF3, pair_of(2));
    EXPECT_FALSE(relay.take(kG3).defined());
    EXPECT_TRUE(holds(relay.take(kF3), 2));
  }});
}

TEST_F(RelayTest, PassThatNobodyBeganHasNothing) {
  in_pass({[&] { EXPECT_FALSE(relay.take(kG3).defined()); }});
}

TEST_F(RelayTest, PassGetsNothingOfTheOneBefore) {
  in_pass({[&] { relay.begin(kG3, pair_of(1), true); }});
  in_pass({[&] { EXPECT_FALSE(relay.take(kG3).defined()); }});
}

TEST_F(RelayTest, TwoPassesHaveSlotsOfTheirOwn) {
  const auto inner = [&] {
    in_pass({[&] {
      EXPECT_FALSE(relay.take(kG3).defined());
      relay.begin(kG3, pair_of(2), true);
      EXPECT_TRUE(holds(relay.take(kG3), 2));
      relay.put(kG3, pair_of(3));
    }});
  };
  in_pass({
      [&] { relay.begin(kG3, pair_of(1), true); },
      inner,
      [&] { EXPECT_TRUE(holds(relay.take(kG3), 1)); },
  });
}

// Invariant 3: a step on another stream is ordered after the one before.
TEST_F(RelayTest, StepOnAnotherStreamWaitsForBothTensors) {
  RecordingDevice device;
  in_pass({[&] {
    device.use_stream(1);
    relay.begin(kG3, {device.tensor(), device.tensor()}, false);
    device.use_stream(2);
    relay.take(kG3);
  }});
  EXPECT_EQ(
      device.log(),
      (
          Log{"record on 1",
              "2 waits for 1",
              "memory is in use on 2",
              "memory is in use on 2"}));
}

// Invariant 4: a graph's nodes own their relay, which leads back to none.
TEST_F(RelayTest, IsFreedWithTheNodesThatOwnIt) {
  auto owned = std::make_shared<Relay>();
  const std::weak_ptr<Relay> watched = owned;
  Fn begin = [owned] { owned->begin(kG3, pair_of(1), true); };
  owned.reset();
  auto y = Calling::apply(torch::zeros({1}).requires_grad_(), std::move(begin));
  y.backward({}, /*retain_graph=*/true);
  begin = nullptr;
  EXPECT_FALSE(watched.expired());
  y = Tensor();
  EXPECT_TRUE(watched.expired());
}

// Expects that the pairs of a pass have no graph.
struct ExpectingNoGraph : StreamObserver {
  void in_forward(int64_t, const StreamPair&) override {}
  void rebuilt(int64_t, const StreamPair& pair) override {
    EXPECT_FALSE(pair[0].requires_grad() || pair[1].requires_grad());
    ++pairs;
  }
  int pairs = 0;
};

TEST_F(RelayTest, PairsOfAStackCarryNoGraph) {
  const auto blocks = mlp_blocks(4, 3);
  const auto inputs = random_inputs({2, 3});
  for (const bool create_graph : {false, true}) {
    const auto observer = std::make_shared<ExpectingNoGraph>();
    const detail::Stack stack{"entry", blocks, {}, {}, observer};
    const auto y = detail::run_streams(
        stack, detail::arithmetic_of(stack, inputs.x1), {inputs.x1, inputs.x2});
    torch::autograd::grad(
        {weighted_sum({y[0], y[1]})},
        {inputs.x1, inputs.x2},
        {},
        /*retain_graph=*/create_graph,
        create_graph);
    EXPECT_EQ(observer->pairs, 4);
  }
}

// Notes what it sees: "forward 3", "rebuilt 3".
struct Noting : StreamObserver {
  void in_forward(int64_t block, const StreamPair& pair) override {
    EXPECT_TRUE(holds(pair, double(block)));
    seen.push_back("forward " + std::to_string(block));
  }
  void rebuilt(int64_t block, const StreamPair& pair) override {
    EXPECT_TRUE(holds(pair, double(block)));
    seen.push_back("rebuilt " + std::to_string(block));
  }
  Log seen;
};

// Invariant 5: what an observer sees, and until when.
class RelayObserverTest : public RelayTest {
 protected:
  RelayObserverTest() {
    relay.observe(noting);
  }
  // From the end of blocks [2, 4) to their beginning.
  void pass(bool keeps_graph) {
    in_pass({[&] {
      relay.begin(kG3, pair_of(4), keeps_graph);
      relay.put(kF3, pair_of(3.5));
      relay.put(kG2, pair_of(3));
      relay.put(kF2, pair_of(2.5));
      relay.put({1, Role::kG}, pair_of(2));
    }});
  }

  std::shared_ptr<Noting> noting = std::make_shared<Noting>();
};

TEST_F(RelayObserverTest, SeesThePairBeforeABlockInForward) {
  relay.in_forward(2, pair_of(2));
  relay.in_forward(3, pair_of(3));
  EXPECT_EQ(noting->seen, (Log{"forward 2", "forward 3"}));
}

TEST_F(RelayObserverTest, SeesThePairBeforeEachBlockAsItIsRebuilt) {
  pass(/*keeps_graph=*/false);
  EXPECT_EQ(noting->seen, (Log{"rebuilt 3", "rebuilt 2"}));
}

TEST_F(RelayObserverTest, SeesNothingOfAPassThatStartsHalfWay) {
  in_pass({[&] { relay.put(kG2, pair_of(3)); }});
  EXPECT_TRUE(noting->seen.empty());
}

TEST_F(RelayObserverTest, StaysWhilePassesKeepTheGraph) {
  pass(/*keeps_graph=*/true);
  pass(/*keeps_graph=*/true);
  EXPECT_EQ(noting->seen.size(), 4u);
  EXPECT_EQ(noting.use_count(), 2);
}

TEST_F(RelayObserverTest, GoesWithTheFirstPassThatFreesTheGraph) {
  pass(/*keeps_graph=*/false);
  EXPECT_EQ(noting.use_count(), 1);
  pass(/*keeps_graph=*/false);
  EXPECT_EQ(noting->seen.size(), 2u);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
