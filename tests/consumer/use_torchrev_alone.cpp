// Takes no symbol from LibTorch, which torchrev still needs at run time.

#include <torchrev/ops.h>

int main() {
  return torchrev::detail::ops_registered() ? 0 : 1;
}
