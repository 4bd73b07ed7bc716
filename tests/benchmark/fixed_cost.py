"""What a block costs in Python: plain autograd, torch.utils.checkpoint and
torchrev's operator, in microseconds of a training step, CPU time.

The blocks are those of benchmark_fixed_cost, which measures the same in C++.

    python fixed_cost.py --library build/libtorchrev.so
"""

import argparse
import statistics
import sys
import time

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

# Gradients that differ by more are wrong; rounding stays far below.
LARGEST_ROUNDING = 1e-3


class Block(nn.Module):
    """Next to nothing: what a block costs beyond its branches shows."""

    def __init__(self, width):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.g = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))

    def forward(self, x1, x2):
        y1 = x1 + self.f(x2)
        return y1, x2 + self.g(y1)


class Reversible(nn.Module):
    """To be scripted: the operator takes the blocks' submodules f and g."""

    def __init__(self, blocks):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x1, x2):
        return torch.ops.torchrev.reversible_sequence(self.blocks, x1, x2)


def plain(blocks):

    def forward(x1, x2):
        for block in blocks:
            x1, x2 = block(x1, x2)
        return x1, x2

    return forward


def checkpointed(blocks, use_reentrant):

    def forward(x1, x2):
        for block in blocks:
            x1, x2 = checkpoint(block, x1, x2, use_reentrant=use_reentrant)
        return x1, x2

    return forward


class Depth:
    """The variants at one depth, over the same parameters."""

    def __init__(self, depth, width):
        self.depth = depth
        blocks = [Block(width) for _ in range(depth)]
        self.parameters = list(nn.ModuleList(blocks).parameters())
        self.x = torch.randn(1, 1, 2 * width, requires_grad=True)
        self.weight = torch.randn(1, 1, 2 * width)
        self.variants = {
            "plain": plain(blocks),
            "checkpoint": checkpointed(blocks, use_reentrant=False),
            "reentrant": checkpointed(blocks, use_reentrant=True),
            "torchrev": torch.jit.script(Reversible(blocks)),
        }
        self.microseconds = {name: [] for name in self.variants}

    def step(self, name):
        y = torch.cat(self.variants[name](*self.x.chunk(2, -1)), -1)
        (y * self.weight).sum().backward()

    def gradients(self, name):
        leaves = [self.x, *self.parameters]
        for leaf in leaves:
            leaf.grad = torch.zeros_like(leaf)
        self.step(name)
        return [leaf.grad.clone() for leaf in leaves]

    def check_gradients(self):
        """Also warms up: TorchScript optimises in its first runs."""
        expected = self.gradients("plain")
        for name in [*self.variants] * 3:
            difference = max(
                ((a - b).abs().max() / b.abs().max()).item()
                for a, b in zip(self.gradients(name), expected))
            if not difference <= LARGEST_ROUNDING:
                sys.exit(f"The gradients of {name} differ by {difference}: "
                         "its times would mean nothing.")

    def measure(self, name, steps):
        start = time.process_time()
        for _ in range(steps):
            self.step(name)
        seconds = (time.process_time() - start) / steps
        self.microseconds[name].append(1e6 * seconds)


def measure(arguments):
    rows = []
    depth = 1
    while depth <= arguments.max_depth:
        rows.append(Depth(depth, arguments.width))
        rows[-1].check_gradients()
        depth *= 2
    for turn in range(arguments.rounds):
        for row in rows:
            names = list(row.variants)
            for i in range(len(names)):
                row.measure(names[(i + turn) % len(names)], arguments.steps)
    return rows


def medians(rows, name):
    return [statistics.median(row.microseconds[name]) for row in rows]


def report(arguments, rows):
    names = list(rows[0].variants)
    print(f"Microseconds of a training step in Python: torch "
          f"{torch.__version__}, width {arguments.width}, one token, one "
          f"thread, {arguments.rounds} rounds of {arguments.steps} steps\n")
    print(f"{'depth':>8}", *(f"{name:>10}" for name in names))
    for row in rows:
        print(f"{row.depth:8}", *(
            f"{statistics.median(row.microseconds[name]):10.1f}"
            for name in names))
    depths = [row.depth for row in rows]
    slopes = [
        statistics.linear_regression(depths, medians(rows, name)).slope
        for name in names
    ]
    print(f"{'a block':>8}", *(f"{slope:10.1f}" for slope in slopes))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, help="libtorchrev.so")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--max-depth", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    torch.ops.load_library(arguments.library)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    report(arguments, measure(arguments))


if __name__ == "__main__":
    main()
