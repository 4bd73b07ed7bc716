#pragma once

namespace torchrev_examples {

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

}  // namespace torchrev_examples
