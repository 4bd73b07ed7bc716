"""Wrong use of the operators: an error that names the item."""

import unittest

import torch
from torch import nn

from support import Block, ReversibleStack, branch, ops, streams


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x, x


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x + y


class NoInput(nn.Module):
    def forward(self):
        return torch.zeros(1)


class NoForward(nn.Module):
    pass


class OnlyF(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = branch()


class ErrorTest(unittest.TestCase):

    def setUp(self):
        self.x = [x.detach().float() for x in streams()]
        self.script = torch.jit.script(branch())

    def assert_raises(self, kind, parts, operator, *arguments, **keywords):
        with self.assertRaises(kind) as caught:
            operator(*arguments, **keywords)
        for part in parts:
            self.assertIn(part, str(caught.exception))

    def assert_block_raises(self, kind, parts, f, g, *context, **keywords):
        self.assert_raises(
            kind, ["torchrev::reversible_block: expected ", *parts],
            ops.reversible_block, f, g, *self.x, *context, **keywords)

    def blocks_with(self, second):
        """Two blocks, scripted; this one is the second."""
        stack = torch.jit.script(
            ReversibleStack([Block(branch(), branch()), second]))
        return stack.blocks

    def assert_sequence_raises(self, kind, parts, blocks):
        """In each operator that takes blocks, called from Python or script."""
        x1, x2 = self.x
        for name, inputs in {
                "reversible_sequence": [x1, x2],
                "reversible_sequence_inverse": [x1, x2],
                "reversible_residual": [x1],
                "reversible_residual_inverse": [x1]}.items():
            with self.subTest(name):
                self.assert_raises(
                    kind, [f"torchrev::{name}: expected ", *parts],
                    getattr(ops, name), blocks, *inputs)

    def test_block_without_g(self):
        self.assert_sequence_raises(
            ValueError, ["`blocks[1]`", "submodule `g`"],
            self.blocks_with(OnlyF()))

    def test_block_without_g_in_a_script(self):
        # The interpreter turns every error into a RuntimeError.
        stack = torch.jit.script(ReversibleStack([OnlyF()]))
        self.assert_raises(
            RuntimeError, ["`blocks[0]`", "submodule `g`"], stack, *self.x)

    def test_branch_that_returns_a_tuple(self):
        self.assert_block_raises(
            ValueError, ["`g`", "one tensor"], self.script,
            torch.jit.script(TwoOutputs()))
        self.assert_sequence_raises(
            ValueError, ["`blocks[1].f`", "one tensor"],
            self.blocks_with(Block(TwoOutputs(), branch())))

    def test_branch_of_wrong_arity(self):
        for wrong in (TwoInputs(), NoInput()):
            self.assert_block_raises(
                ValueError, ["`f`", "to take"], torch.jit.script(wrong),
                self.script)
            self.assert_sequence_raises(
                ValueError, ["`blocks[1].g`", "to take"],
                self.blocks_with(Block(branch(), wrong)))

    def test_branch_without_forward(self):
        self.assert_block_raises(
            ValueError, ["`f`", "`forward`", "preserved_attrs"],
            torch.jit.script(NoForward()), self.script)

    def test_branch_of_another_shape(self):
        wide = torch.jit.script(nn.Linear(4, 8))
        self.assert_block_raises(
            ValueError, ["G of block 0", "[3, 4]", "[3, 8]"], self.script, wide)

    def test_what_is_no_module(self):
        for wrong, kind in ((self.x[0], "Tensor"), (3, "Int"), (None, "None")):
            self.assert_block_raises(
                TypeError, ["`g`", "TorchScript module", f"got {kind}"],
                self.script, wrong)
            self.assert_sequence_raises(
                TypeError, ["`blocks`", "TorchScript module", f"got {kind}"],
                wrong)

    def test_module_that_is_not_scripted(self):
        # PyTorch's own error: the operator is not reached.
        self.assert_raises(
            RuntimeError, ["Linear(in_features=4, out_features=4"],
            ops.reversible_block, nn.Linear(4, 4), self.script, *self.x)

    def test_no_blocks(self):
        empty = torch.jit.script(nn.ModuleList())
        self.assert_sequence_raises(
            ValueError, ["`blocks`", "empty", "preserved_attrs"], empty)

    def test_context_that_is_no_tensor(self):
        for wrong in (3, "mask", (self.x[0], (1, 2))):
            self.assert_block_raises(
                TypeError, ["`context`"], self.script, self.script, wrong)

    def test_option_values(self):
        for name, value in {
                "fraction_bits": -1, "drift_tolerance": 0.0,
                "coupling": "additiv", "momentum": 1.5}.items():
            with self.subTest(name):
                self.assert_block_raises(
                    ValueError, [f"option `{name}`"], self.script,
                    self.script, **{name: value})
        self.assert_block_raises(
            TypeError, ["option `stream_dtype`", "Half"], self.script,
            self.script, stream_dtype=torch.half)

    def test_streams_option(self):
        blocks = self.blocks_with(Block(branch(), branch()))
        self.assert_raises(
            ValueError,
            ["torchrev::reversible_residual: ", "`streams`", "third"],
            ops.reversible_residual, blocks, self.x[0], streams="third")
        self.assert_raises(
            IndexError, ["torchrev::reversible_residual: ", "7"],
            ops.reversible_residual, blocks, self.x[0], dim=7)

    def test_odd_channels(self):
        blocks = self.blocks_with(Block(branch(), branch()))
        self.assert_raises(
            ValueError, ["torchrev::reversible_residual: ", "even", "[3, 7]"],
            ops.reversible_residual, blocks, torch.zeros(3, 7))

    def test_unknown_option(self):
        self.assert_raises(
            RuntimeError, ["bogus"], ops.reversible_block, self.script,
            self.script, *self.x, bogus=1)


if __name__ == "__main__":
    unittest.main()
