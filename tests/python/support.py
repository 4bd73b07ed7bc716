"""Blocks, stacks and comparisons that the tests of the operators share.

The oracle of every test is plain autograd over the formula of a reversible
block, on a deep copy of the same modules in the same process.
"""

import copy
import os

import torch
from torch import nn

torch.ops.load_library(os.environ["TORCHREV_LIBRARY"])
ops = torch.ops.torchrev

WIDTH = 4
# Float64 gradients of a few blocks: rebuilding and the order of sums cost some
# units in the last place.
TOLERANCE = 1e-12


def branch():
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())


class Block(nn.Module):
    """The residual functions of one reversible block; it has no forward."""

    def __init__(self, f, g):
        super().__init__()
        self.f = f
        self.g = g


class PlainStack(nn.Module):
    """Plain autograd over the formula."""

    def __init__(self, blocks):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x1, x2):
        for block in self.blocks:
            x1 = x1 + block.f(x2)
            x2 = x2 + block.g(x1)
        return x1, x2


class ReversibleStack(PlainStack):
    """The same through the operator; to be scripted."""

    def forward(self, x1, x2):
        return torch.ops.torchrev.reversible_sequence(self.blocks, x1, x2)


def make_pair(make_branch=branch, depth=3):
    """Equal stacks that share nothing: a scripted one, and its oracle."""
    torch.manual_seed(1)
    plain = PlainStack(
        [Block(make_branch(), make_branch()) for _ in range(depth)]).double()
    reversible = ReversibleStack(copy.deepcopy(list(plain.blocks)))
    return torch.jit.script(reversible), plain


def streams(*shape, dtype=torch.double):
    generator = torch.Generator().manual_seed(2)
    return [
        torch.randn(shape or (3, WIDTH), generator=generator, dtype=dtype)
        .requires_grad_() for _ in range(2)
    ]


def loss_of(outputs):
    return sum((y.double() * y.double().sin()).sum() for y in outputs)


def gradients(stack, inputs, **options):
    """Those of the inputs and of all parameters."""
    leaves = [*inputs, *stack.parameters()]
    return torch.autograd.grad(loss_of(stack(*inputs)), leaves, **options)


class Checks:
    """Assertions, for a unittest.TestCase."""

    def assert_close(self, actual, expected, tolerance=TOLERANCE):
        self.assertEqual(len(actual), len(expected))
        for index, (a, b) in enumerate(zip(actual, expected)):
            self.assertEqual(a.shape, b.shape, f"shape of tensor {index}")
            difference = (a - b).abs().max().item() if a.numel() else 0.0
            self.assertLessEqual(difference, tolerance, f"tensor {index}")

    def assert_equal(self, actual, expected):
        """To the bit."""
        self.assertEqual(len(actual), len(expected))
        for index, (a, b) in enumerate(zip(actual, expected)):
            self.assertTrue(torch.equal(a, b), f"tensor {index}: {a} != {b}")
