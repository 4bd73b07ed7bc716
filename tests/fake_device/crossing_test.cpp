#include <future>

#include "fake_device/accelerator.h"

// Branches that cross devices: in one backward, each device has a thread of the
// engine. A lock that one of them holds while it waits for another is a hang.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 8;
constexpr auto kTimeLimit = std::chrono::seconds(30);

class CrossingTest : public FakeDeviceTest {
 protected:
  // In a thread of its own, which is left behind where it hangs.
  static void expect_to_end(std::function<void()> fn) {
    std::packaged_task<void()> task(std::move(fn));
    auto done = task.get_future();
    std::thread thread(std::move(task));
    const bool ended = done.wait_for(kTimeLimit) == std::future_status::ready;
    EXPECT_TRUE(ended) << "hangs";
    if (ended) {
      thread.join();
      done.get();
    } else {
      thread.detach();
    }
  }
  static Branch dropping(int64_t index) {
    torch::nn::Sequential module(
        torch::nn::Linear(kWidth, kWidth), torch::nn::Dropout(0.5));
    module->to(at::kDouble);
    return on_accelerator(Branch(module), index);
  }
  // Runs `branch` on another device than the streams.
  struct AbroadImpl : torch::nn::Module {
    AbroadImpl(Branch branch, c10::Device device)
        : branch(std::move(branch)), device(device) {
      register_module("branch", this->branch.module());
    }
    Tensor forward(const Tensor& x) {
      return branch(x.to(device)).to(x.device());
    }
    Branch branch;
    c10::Device device;
  };
  static Branch abroad(const Branch& branch, int64_t index) {
    return std::make_shared<AbroadImpl>(branch, accelerator(index));
  }
  // A stack of `blocks` as a branch.
  struct NestedImpl : torch::nn::Module {
    explicit NestedImpl(Blocks blocks) : blocks(std::move(blocks)) {
      for (const auto& block : this->blocks) {
        register_module(std::to_string(children().size()), block.f.module());
        register_module(std::to_string(children().size()), block.g.module());
      }
    }
    Tensor forward(const Tensor& x) {
      return std::get<0>(reversible_sequence(blocks, x, x.tanh()));
    }
    Blocks blocks;
  };
  static Branch nested(const Blocks& blocks) {
    return std::make_shared<NestedImpl>(blocks);
  }
  // The same in plain autograd.
  struct PlainImpl : torch::nn::Module {
    explicit PlainImpl(Blocks blocks) : blocks(std::move(blocks)) {}
    Tensor forward(const Tensor& x) {
      return std::get<0>(plain(blocks)({x, x.tanh(), {}}));
    }
    Blocks blocks;
  };

  // A step of `blocks` against plain autograd over `plainly`.
  static void expect_match(
      const Blocks& blocks, const Blocks& plainly, const Inputs& inputs) {
    expect_to_end([=] {
      const auto parameters = parameters_of(blocks);
      for (int step = 0; step < 3; ++step) {
        const auto expected = train(plain(plainly), inputs, parameters);
        EXPECT_TRUE(AllClose(
            train(reversible(blocks), inputs, parameters).gradients,
            expected.gradients,
            kFloat64Tolerance));
      }
    });
  }
};

TEST_F(CrossingTest, BranchesOnSeveralDevicesMatchPlain) {
  const Blocks blocks{
      {dropping(0), abroad(dropping(1), 1)},
      {abroad(dropping(2), 2), dropping(0)}};
  expect_match(blocks, blocks, on_accelerator(random_inputs({4, kWidth})));
}

TEST_F(CrossingTest, OffloadedBranchBesideDropoutOnADeviceMatchesPlain) {
  const Branch at_home = on_accelerator(Branch(mlp(kWidth)));
  const Branch offloaded =
      Branch::function([](const Tensor& x, at::TensorList, at::TensorList) {
        return torch::dropout(x.cpu().tanh(), 0.5, true).to(x.device());
      });
  const Blocks blocks{{dropping(0), offloaded}, {offloaded, dropping(0)}};
  expect_match(blocks, blocks, on_accelerator(random_inputs({4, kWidth})));
}

// The local gradient of a step on device 0 waits for a stack on device 1, whose
// steps recompute in the thread of that device.
TEST_F(CrossingTest, StackWithinABranchOnAnotherDeviceMatchesPlain) {
  const Blocks inner{{dropping(1), dropping(1)}};
  const Blocks blocks{
      {abroad(nested(inner), 1), dropping(0)},
      {dropping(0), abroad(nested(inner), 1)}};
  const auto plainly = std::make_shared<PlainImpl>(inner);
  const Blocks oracle{
      {abroad(plainly, 1), blocks[0].g}, {blocks[1].f, abroad(plainly, 1)}};
  expect_match(blocks, oracle, on_accelerator(random_inputs({4, kWidth})));
}

// A size is read without an operator: the recompute of the call that resizes
// the buffer sets it where all see it, while the branch runs. So do the steps
// of its local gradient, in the thread of device 1.
TEST_F(CrossingTest, BuffersThatForwardResizesOnAnotherDeviceMatchPlain) {
  struct ObserverImpl : torch::nn::Module {
    ObserverImpl() {
      low = register_buffer("low", torch::zeros({0}, at::kDouble));
    }
    Tensor forward(const Tensor& x) {
      const auto now = x.detach().amin(0);
      if (low.numel() == 0) {
        low.resize_(now.sizes()).copy_(now);
      }
      low.copy_(torch::min(low, now));
      return x.tanh() + low.clone();
    }
    Tensor low;
  };
  const auto model = [](const std::function<Branch(const Blocks&)>& around) {
    const auto observer = std::make_shared<ObserverImpl>();
    move_to_fake({observer->low}, accelerator(1));
    const Branch tanh = torch::nn::Tanh();
    return Blocks{{abroad(around({{observer, tanh}}), 1), tanh}};
  };
  const auto blocks = model(nested);
  const auto oracle = model([](const Blocks& inner) {
    return Branch(std::make_shared<PlainImpl>(inner));
  });
  const auto inputs = on_accelerator(random_inputs({4, kWidth}));
  expect_to_end([=] {
    for (int step = 0; step < 3; ++step) {
      const auto expected = train(plain(oracle), inputs, {});
      EXPECT_TRUE(Matches(
          train(reversible(blocks), inputs, {}), expected, kFloat64Tolerance));
    }
  });
}

// On the CPU, whose nodes run in the thread that called backward.
TEST_F(CrossingTest, StackOnTheCpuWithinABranchOnADeviceMatchesPlain) {
  torch::nn::Sequential module(
      torch::nn::Linear(kWidth, kWidth), torch::nn::Dropout(0.5));
  module->to(at::kDouble);
  const Blocks inner{{module, mlp(kWidth)}};
  struct HomeImpl : torch::nn::Module {
    explicit HomeImpl(Branch branch) : branch(std::move(branch)) {
      register_module("branch", this->branch.module());
    }
    Tensor forward(const Tensor& x) {
      return branch(x.cpu()).to(x.device());
    }
    Branch branch;
  };
  const auto at_home = [](const Branch& branch) {
    return Branch(std::make_shared<HomeImpl>(branch));
  };
  const Branch plainly = std::make_shared<PlainImpl>(inner);
  const Blocks blocks{
      {at_home(nested(inner)), dropping(0)},
      {dropping(0), at_home(nested(inner))}};
  const Blocks oracle{
      {at_home(plainly), blocks[0].g}, {blocks[1].f, at_home(plainly)}};
  expect_match(blocks, oracle, on_accelerator(random_inputs({4, kWidth})));
}

// One on a device, one on the CPU with branches there: the thread that called
// backward and that of the device run them at the same time.
TEST_F(CrossingTest, OffloadedStackBesideOneOnTheDeviceInOneBackwardEnds) {
  const Branch offloaded =
      Branch::function([this](const Tensor& x, at::TensorList, at::TensorList) {
        return torch::dropout(x.to(device).tanh(), 0.5, true).to(x.device());
      });
  const Blocks on_cpu(6, BranchPair{offloaded, offloaded});
  const Blocks here(6, BranchPair{dropping(0), dropping(0)});
  const auto in = random_inputs({4, kWidth});
  const auto there = on_accelerator(in);
  expect_to_end([=] {
    for (int step = 0; step < 20; ++step) {
      const auto [y1, y2] = reversible_sequence(on_cpu, in.x1, in.x2);
      const auto [z1, z2] = reversible_sequence(here, there.x1, there.x2);
      (weighted_sum({y1, y2}) + weighted_sum({z1, z2}).cpu()).backward();
    }
  });
}

// Two models in two threads, each of which crosses the devices of the other.
TEST_F(CrossingTest, ModelsInThreadsThatCrossTheSameDevicesEnd) {
  const Blocks inner{{dropping(1), dropping(1)}};
  const Blocks there{{abroad(nested(inner), 1), dropping(0)}};
  const Blocks back_inner{{dropping(0), dropping(0)}};
  const Blocks back{{abroad(nested(back_inner), 0), dropping(1)}};
  expect_to_end([=] {
    const auto run = [](const Blocks& blocks, int64_t index) {
      const auto inputs = on_accelerator(random_inputs({4, kWidth}), index);
      for (int step = 0; step < 5; ++step) {
        const auto [y1, y2] = reversible_sequence(blocks, inputs.x1, inputs.x2);
        weighted_sum({y1, y2}).backward();
      }
    };
    auto other = std::async(std::launch::async, run, back, 1);
    run(there, 0);
    other.get();
  });
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
