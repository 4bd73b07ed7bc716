#pragma once

namespace train_reformer {

/// While one exists, the first Ctrl-C is noted instead of ending the process;
/// the second ends it.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool requested() const;
};

}  // namespace train_reformer
