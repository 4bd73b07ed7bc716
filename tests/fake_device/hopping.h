#pragma once

#include "fake_device/accelerator.h"

namespace torchrev {
namespace test {

/// While it lives, branches made by hopping() leave the thread on another
/// stream of the device than they found, by turns, so that each step of a
/// stack, and with it its backward, runs on another stream than the step
/// before. Streams wait for each other as a user's program lets them. (In its
/// first call a branch runs twice, and hops twice: later calls count.)
class Hopping {
 public:
  explicit Hopping(const c10::Device& device);
  ~Hopping();
  Hopping(const Hopping&) = delete;
  Hopping& operator=(const Hopping&) = delete;

  /// To the next stream, after what the current one was given.
  static void hop();

 private:
  void go_to(const c10::Stream& stream);

  c10::impl::VirtualGuardImpl guard_;
  c10::Stream before_;
  std::vector<c10::Stream> streams_;
  std::size_t next_ = 0;
};

Branch hopping(const Branch& branch);
Blocks hopping(const Blocks& blocks);

/// `stack`, whose forward hops.
Stack on_several_streams(const Stack& stack, const c10::Device& device);

}  // namespace test
}  // namespace torchrev
