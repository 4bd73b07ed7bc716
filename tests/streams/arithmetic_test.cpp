#include "streams/arithmetic.h"

#include "streams/stream_pair.h"
#include "support/support.h"

// How streams take up the values of branches.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::Arithmetic;
using detail::Place;
using detail::StreamPair;

const StepId kStep{3, Role::kG};
const Place kPlace{"entry", kStep};

// y = 2 x + value, and what it was called with.
struct Doubling : Coupling {
  Tensor forward(
      const Tensor& x,
      const Tensor& value,
      const Tensor& other,
      const StepId& step) const override {
    seen = {x, value, other};
    seen_step = step;
    return 2 * x + value;
  }
  Tensor inverse(
      const Tensor& y,
      const Tensor& value,
      const Tensor& other,
      const StepId& step) const override {
    seen = {y, value, other};
    seen_step = step;
    return (y - value) / 2;
  }

  mutable std::vector<Tensor> seen;
  mutable StepId seen_step;
};

// Returns its argument, or a view of it.
struct Passing : Coupling {
  Tensor forward(const Tensor& x, const Tensor&, const Tensor&, const StepId&)
      const override {
    return x;
  }
  Tensor inverse(
      const Tensor&,
      const Tensor& value,
      const Tensor&,
      const StepId&) const override {
    return value.view({3, 4});
  }
};

class ArithmeticTest : public testing::Test {
 protected:
  Arithmetic arithmetic(const ReversibleOptions& options = {}) const {
    return Arithmetic("entry", options, x);
  }

  Tensor x = torch::randn({3, 4});
  Tensor value = torch::randn({3, 4});
  Tensor other = torch::randn({3, 4});
};

TEST_F(ArithmeticTest, StreamsHaveTheDtypeOfTheInput) {
  EXPECT_TRUE(BitEqual(arithmetic().enter(x), x));
  EXPECT_TRUE(BitEqual(arithmetic().leave(x), x));
}

TEST_F(ArithmeticTest, StreamsHaveTheStreamDtypeAndLeaveInThatOfTheInput) {
  const auto wide = arithmetic(ReversibleOptions().stream_dtype(at::kDouble));
  const auto stream = wide.enter(x);
  EXPECT_TRUE(BitEqual(stream, x.to(at::kDouble)));
  EXPECT_TRUE(BitEqual(wide.leave(stream), x));
  EXPECT_TRUE(BitEqual(
      wide.join(kPlace, stream, value, other, x.strides()),
      x.to(at::kDouble) + value));
}

TEST_F(ArithmeticTest, GridRoundsTheInputAndPassesItsGradient) {
  x.requires_grad_();
  const auto stream = arithmetic(ReversibleOptions().fraction_bits(3)).enter(x);
  EXPECT_TRUE(BitEqual(stream.detach(), (x.detach() * 8).round() / 8));
  stream.backward(value);
  EXPECT_TRUE(BitEqual(x.grad(), value));
}

TEST_F(ArithmeticTest, ValuesHaveTheSizesThatTheCouplingAsksFor) {
  EXPECT_EQ(arithmetic().value_sizes({3, 4}), at::DimVector({3, 4}));
  const auto affine =
      arithmetic(ReversibleOptions().coupling(affine_coupling()));
  EXPECT_EQ(affine.value_sizes({3, 4}), at::DimVector({3, 8}));
}

TEST_F(ArithmeticTest, IsAdditiveByDefaultAlone) {
  EXPECT_TRUE(arithmetic().is_additive());
  EXPECT_FALSE(arithmetic(ReversibleOptions().coupling(momentum_coupling(0.9)))
                   .is_additive());
}

TEST_F(ArithmeticTest, JoinReusesTheStorageOfTheValueIfNobodyElseHoldsIt) {
  const auto expected = x + value;
  const auto kept = value.clone();
  const auto* const storage = value.data_ptr();
  const auto held = arithmetic().join(kPlace, x, value, other, x.strides());
  EXPECT_TRUE(BitEqual(held, expected));
  EXPECT_NE(held.data_ptr(), storage);
  EXPECT_TRUE(BitEqual(value, kept));

  const auto reused =
      arithmetic().join(kPlace, x, std::move(value), other, x.strides());
  EXPECT_TRUE(BitEqual(reused, expected));
  EXPECT_EQ(reused.data_ptr(), storage);
}

TEST_F(ArithmeticTest, JoinReusesNoStorageThatAnotherTensorViews) {
  const auto view = value.view({12});
  const auto kept = view.clone();
  arithmetic().join(kPlace, x, std::move(value), other, x.strides());
  EXPECT_TRUE(BitEqual(view, kept));
}

TEST_F(ArithmeticTest, SeparateReusesAnOperandThatNobodyElseHolds) {
  const auto expected = x - value;
  const auto* const out_storage = x.data_ptr();
  const auto* const value_storage = value.data_ptr();
  const auto kept = x.clone();
  auto addend =
      arithmetic().separate(kPlace, x, value.clone(), other, x.strides());
  EXPECT_NE(addend.data_ptr(), out_storage);
  addend =
      arithmetic().separate(kPlace, x, std::move(value), other, kept.strides());
  EXPECT_EQ(addend.data_ptr(), value_storage);
  EXPECT_TRUE(BitEqual(x, kept));
  addend = arithmetic().separate(
      kPlace, std::move(x), kept - expected, other, kept.strides());
  EXPECT_EQ(addend.data_ptr(), out_storage);
}

TEST_F(ArithmeticTest, SeparateIsTheInverseOfJoinToTheBitOnTheGrid) {
  const auto grid = arithmetic(ReversibleOptions().fraction_bits(12));
  const auto stream = grid.enter(x * 100);
  const auto out = grid.join(kPlace, stream, value, other, x.strides());
  EXPECT_FALSE(BitEqual(out, stream));
  EXPECT_TRUE(
      BitEqual(grid.separate(kPlace, out, value, other, x.strides()), stream));
}

TEST_F(ArithmeticTest, ResultsHaveTheStridesThatAreAskedFor) {
  const std::vector<int64_t> strides = {1, 3};
  for (const auto& coupling : {additive_coupling(), momentum_coupling(0.9)}) {
    const auto computes = arithmetic(ReversibleOptions().coupling(coupling));
    const auto out = computes.join(kPlace, x, value, other, strides);
    EXPECT_EQ(out.strides(), at::IntArrayRef(strides));
    EXPECT_EQ(
        computes.separate(kPlace, out, value, other, x.strides()).strides(),
        x.strides());
  }
}

TEST_F(ArithmeticTest, CheckSeesTheInputAndTheStreamAfterEachStep) {
  std::vector<torch::optional<StepId>> steps;
  std::vector<Tensor> streams;
  const Arithmetic checked(
      "entry", {}, x, [&](const Place& place, const Tensor& stream) {
        steps.push_back(place.step);
        streams.push_back(stream);
      });
  const auto input = checked.enter(x);
  const auto joined = checked.join(kPlace, x, value, other, x.strides());
  const auto coupled =
      checked.couple({"entry", StepId{4, Role::kF}}, x, value, other);
  EXPECT_TRUE(BitEqual(streams, {input, joined, coupled}));
  EXPECT_FALSE(steps[0]);
  EXPECT_EQ(steps[1], kStep);
  EXPECT_EQ(steps[2], (StepId{4, Role::kF}));
  // Streams that are rebuilt were there in forward.
  checked.separate(kPlace, joined, value, other, x.strides());
  EXPECT_EQ(streams.size(), 3u);
}

TEST_F(ArithmeticTest, CouplingGetsStreamValueOtherAndStep) {
  const auto doubling = std::make_shared<Doubling>();
  const auto computes = arithmetic(
      ReversibleOptions().coupling(doubling).stream_dtype(at::kDouble));
  const auto stream = x.to(at::kDouble);
  const auto wide = value.to(at::kDouble);
  const auto out = computes.join(kPlace, stream, value, other, x.strides());
  EXPECT_TRUE(BitEqual(out, 2 * stream + value));
  EXPECT_TRUE(BitEqual(doubling->seen, {stream, wide, other}));
  EXPECT_EQ(doubling->seen_step, kStep);
  const StepId f{5, Role::kF};
  EXPECT_TRUE(AllClose(
      computes.separate({"entry", f}, out, value, other, x.strides()),
      stream,
      kFloat64Tolerance));
  EXPECT_TRUE(BitEqual(doubling->seen, {out, wide, other}));
  EXPECT_EQ(doubling->seen_step, f);
}

TEST_F(ArithmeticTest, CouplingThatReturnsItsArgumentIsCloned) {
  const auto passing =
      arithmetic(ReversibleOptions().coupling(std::make_shared<Passing>()));
  const auto out = passing.join(kPlace, x, value, other, x.strides());
  EXPECT_TRUE(BitEqual(out, x));
  EXPECT_FALSE(out.is_alias_of(x));
  const auto addend = passing.separate(kPlace, out, value, other, x.strides());
  EXPECT_TRUE(BitEqual(addend, value));
  EXPECT_FALSE(addend.is_alias_of(value));
}

TEST_F(ArithmeticTest, CoupleIsDifferentiable) {
  x.requires_grad_();
  value.requires_grad_();
  for (const auto& coupling : {additive_coupling(), momentum_coupling(0.5)}) {
    const auto out =
        arithmetic(ReversibleOptions().coupling(coupling))
            .couple({"entry", StepId{0, Role::kF}}, x, value, other);
    const auto gradients = torch::autograd::grad({out}, {x, value}, {other});
    const auto part = coupling == additive_coupling() ? 1.0 : 0.5;
    EXPECT_TRUE(BitEqual(gradients, {other * part, other * part}));
  }
}

TEST(StreamPairTest, FChangesStreamOneAndReadsTwoGTheOtherWayRound) {
  StreamPair pair;
  EXPECT_FALSE(pair.defined());
  pair[0] = torch::ones({1});
  pair[1] = torch::ones({2});
  EXPECT_TRUE(pair.defined());
  EXPECT_TRUE(pair.changed_by(Role::kF).is_same(pair[0]));
  EXPECT_TRUE(pair.read_by(Role::kF).is_same(pair[1]));
  EXPECT_TRUE(pair.changed_by(Role::kG).is_same(pair[1]));
  EXPECT_TRUE(pair.read_by(Role::kG).is_same(pair[0]));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
