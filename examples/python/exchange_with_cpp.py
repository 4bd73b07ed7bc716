"""Trains a scripted reversible network, and exchanges it with C++.

The module is a new one, or one that this program or its sibling in C++,
examples/04_load_torchscript.cpp, has saved. Either program loads what it saves.

    python exchange_with_cpp.py --library libtorchrev.so --save new.pt
    python exchange_with_cpp.py --library libtorchrev.so --load new.pt \
        --save trained.pt
"""

import argparse

import torch
from torch import nn

WIDTH = 16  # of a stream


def branch() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = branch()
        self.g = branch()


class Network(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(depth))
        self.register_buffer("loss", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x1, x2 = torch.chunk(x, 2, -1)
        y1, y2 = torch.ops.torchrev.reversible_sequence(self.blocks, x1, x2)
        return torch.cat([y1, y2], -1)


def loss_of(module: torch.nn.Module) -> torch.Tensor:
    """How far `module` is from rolling its input by one.

    The inputs are the same in Python and C++.
    """
    torch.manual_seed(1)
    x = torch.randn(64, 2 * WIDTH)
    return nn.functional.mse_loss(module(x), x.roll(1, 1))


def load(file: str) -> torch.jit.ScriptModule:
    """The module in `file`, if it computes what it did where it was saved."""
    module = torch.jit.load(file)
    torch.testing.assert_close(loss_of(module).detach(), module.loss)
    return module


def train(module: torch.nn.Module) -> None:
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        loss_of(module).backward()
        optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", required=True, help="libtorchrev.so")
    parser.add_argument("--load", help="the module to train; none: a new one")
    parser.add_argument("--save", required=True, help="where to save it")
    arguments = parser.parse_args()

    torch.ops.load_library(arguments.library)
    if arguments.load:
        module = load(arguments.load)
    else:
        torch.manual_seed(0)
        module = torch.jit.script(Network(depth=4))
    before = loss_of(module).detach()
    train(module)
    module.loss = loss_of(module).detach()
    module.save(arguments.save)
    print(f"Python: loss {before:.6f} -> {module.loss:.6f}")
    assert module.loss < before


if __name__ == "__main__":
    main()
