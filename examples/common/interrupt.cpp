#include "interrupt.h"

#include <signal.h>

namespace torchrev_examples {
namespace {

volatile sig_atomic_t requested_flag = 0;

void note(int /*signal*/) {
  requested_flag = 1;
}

}  // namespace

Interrupt::Interrupt() {
  struct sigaction action = {};
  action.sa_handler = &note;
  // The handler goes with the first signal; reads and writes go on.
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
}

Interrupt::~Interrupt() {
  signal(SIGINT, SIG_DFL);
}

bool Interrupt::requested() const {
  return requested_flag != 0;
}

}  // namespace torchrev_examples
