#include "fake_device/hopping.h"
#include "support/backward_in_parts.h"
#include "support/oracle.h"

// Work on several streams is ordered by events, and memory that a stream still
// reads is not used again: whatever of it is not so is a race, see
// AcceleratorTest.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 8;

struct Variant {
  const char* name;
  ReversibleOptions options;
};

const std::vector<Variant>& variants() {
  static const std::vector<Variant> all = {
      {"Plainly", {}},
      {"OnAGrid", ReversibleOptions().fraction_bits(20)},
      {"KeepingEveryPair", ReversibleOptions().save_every(1)},
      {"KeepingOneBlock", ReversibleOptions().store_last(1)},
      {"InChunks", ReversibleOptions().chunks_f(2).chunks_g(2).chunk_dim(0)},
      {"WithWiderStreams", ReversibleOptions().stream_dtype(at::kDouble)},
      {"WithAnotherCoupling",
       ReversibleOptions().coupling(momentum_coupling(0.5))},
      {"WithMutableBuffers", ReversibleOptions().mutable_buffers(true)}};
  return all;
}

// In one tensor: some second derivatives are zero but for rounding.
Tensor together(const Step& step) {
  std::vector<Tensor> flat;
  for (const auto& gradient : step.gradients) {
    if (gradient.defined()) {
      flat.push_back(gradient.flatten());
    }
  }
  return torch::cat(flat);
}

class DeviceStreamsTest : public AcceleratorTest,
                          public testing::WithParamInterface<Variant> {
 protected:
  void SetUp() override {
    AcceleratorTest::SetUp();
    if (!IsSkipped()) {
      blocks = on_accelerator(blocks);
      inputs = on_accelerator(inputs);
      hops = hopping(blocks);
      parameters = parameters_of(blocks);
      synchronize();
    }
  }
  Step on_streams(const Stack& stack) {
    return train(on_several_streams(stack, device), inputs, parameters);
  }
  // Three steps of `ours`, which hops, against one of `plain`.
  void expect_matches(const Stack& ours, const Stack& plain) {
    const auto expected = train(plain, inputs, parameters);
    for (int step = 0; step < 3; ++step) {
      EXPECT_TRUE(AllClose(
          on_streams(ours).gradients, expected.gradients, kFloat64Tolerance));
    }
  }

  // Chunks of batch norm have statistics of their own.
  Blocks blocks = GetParam().options.chunks_f() > 1
                      ? mlp_blocks(4, kWidth)
                      : Blocks{
                            {mlp(kWidth), normed(kWidth)},
                            {normed(kWidth), mlp(kWidth)},
                            {mlp(kWidth), mlp(kWidth)},
                            {normed(kWidth), normed(kWidth)}};
  Blocks hops;
  Inputs inputs = random_inputs({8, kWidth});
  std::vector<Tensor> parameters;
};

TEST_P(DeviceStreamsTest, StepsOnSeveralStreamsMatchPlain) {
  const auto& options = GetParam().options;
  expect_matches(reversible(hops, options), plain(blocks, options));
}

TEST_P(DeviceStreamsTest, InverseOnSeveralStreamsMatchesPlain) {
  const auto& options = GetParam().options;
  expect_matches(
      reversible_inverse(hops, options), plain_inverse(blocks, options));
}

// Whose pass starts at an inner step gets its pair from another stream.
TEST_P(DeviceStreamsTest, SecondDerivativesOnSeveralStreamsMatchPlain) {
  const auto& options = GetParam().options;
  const auto penalty = [this](const Stack& stack) {
    return [this, stack](const Inputs& in) {
      const auto [y1, y2] = stack(in);
      const auto first = torch::autograd::grad(
          {weighted_sum({y1, y2})},
          {in.x1, in.x2},
          {},
          /*retain_graph=*/true,
          /*create_graph=*/true);
      return std::make_tuple(first[0], first[1]);
    };
  };
  const auto expected =
      train(penalty(plain(blocks, options)), inputs, parameters);
  for (int step = 0; step < 2; ++step) {
    EXPECT_TRUE(AllClose(
        together(on_streams(penalty(reversible(hops, options)))),
        together(expected),
        kFloat64Tolerance));
  }
}

// Passes that start at inner steps rebuild pairs on the stream where they
// start.
TEST_P(DeviceStreamsTest, SplitBackwardOnSeveralStreamsMatchesPlain) {
  const auto& options = GetParam().options;
  std::vector<Tensor> variables{inputs.x1, inputs.x2};
  variables.insert(variables.end(), parameters.begin(), parameters.end());
  const auto loss_of = [this](const Stack& stack) {
    torch::manual_seed(0);
    const auto [y1, y2] = stack(inputs);
    return weighted_sum({y1.sin(), y2.sin()});
  };
  const auto expected =
      torch::autograd::grad({loss_of(plain(blocks, options))}, variables);
  const auto stack = on_several_streams(reversible(hops, options), device);
  for (const auto order :
       {Order::kFirstFirst, Order::kLastFirst, Order::kMixed}) {
    const auto gradients = gradients_in_parts(
        loss_of(stack), {inputs.x1, inputs.x2}, parameters, order);
    EXPECT_TRUE(AllClose(gradients, expected, kFloat64Tolerance));
  }
}

// Each pass is started on a stream of its own, none of which waits for another:
// in plain autograd these passes have nothing in common. Here one leaves a pair
// for the next.
TEST_P(DeviceStreamsTest, PassesThatDoNotWaitForEachOtherAreOrdered) {
  const auto& options = GetParam().options;
  const auto simple = on_accelerator(mlp_blocks(4, kWidth));
  const auto stack =
      on_several_streams(reversible(hopping(simple), options), device);
  train(stack, inputs, {});
  synchronize();
  for (const auto order :
       {Order::kFirstFirst, Order::kLastFirst, Order::kMixed}) {
    const auto [y1, y2] = on_several_streams(
        reversible(hopping(simple), options), device)(inputs);
    const Parts parts(
        weighted_sum({y1, y2}), {inputs.x1, inputs.x2}, parameters_of(simple));
    synchronize();
    GradientSums sums;
    for (const auto i : in_order(parts.nodes.size(), order)) {
      const SideStream side(device);
      parts.run(i, /*retain=*/false, sums);
    }
    synchronize();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Options,
    DeviceStreamsTest,
    testing::ValuesIn(variants()),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
