"""The operators from Python: schemas, ways to call them, models as files."""

import copy
import io
import unittest

import torch
from torch import nn

import support
from support import (
    Block, Checks, PlainStack, ReversibleStack, branch, gradients, make_pair,
    ops, streams)

OPTIONS = (
    'bool preserve_rng_state=True, int save_every=0, int store_last=0, '
    'int chunks_f=1, int chunks_g=1, int chunk_dim=1, '
    'ScalarType? stream_dtype=None, int? fraction_bits=None, '
    'float? drift_tolerance=0.050000000000000003, str coupling="additive", '
    'float momentum=0.90000000000000002, '
    'bool mutable_buffers=False, bool verify_constant_buffers=False, '
    'bool verify_first_call=True')

# name: positional arguments, keywords before the options, what is returned.
OPERATORS = {
    "reversible_block":
        ("Any f, Any g, Tensor x1, Tensor x2", "", "(Tensor, Tensor)"),
    "reversible_block_inverse":
        ("Any f, Any g, Tensor y1, Tensor y2", "", "(Tensor, Tensor)"),
    "reversible_sequence":
        ("Any blocks, Tensor x1, Tensor x2", "", "(Tensor, Tensor)"),
    "reversible_sequence_inverse":
        ("Any blocks, Tensor y1, Tensor y2", "", "(Tensor, Tensor)"),
    "reversible_residual":
        ("Any blocks, Tensor x", 'str streams="split", int dim=-1, ',
         "Tensor"),
    "reversible_residual_inverse":
        ("Any blocks, Tensor y", "int dim=-1, ", "Tensor"),
}


class SchemaTest(unittest.TestCase):

    def test_schemas_are_pinned(self):
        expected = {
            "torchrev::check_deferred() -> ()",
            "torchrev::remember(str name, Tensor tensor) -> Tensor"}
        for name, (arguments, keywords, returns) in OPERATORS.items():
            rest = f", *, {keywords}{OPTIONS}) -> {returns}"
            expected.add(f"torchrev::{name}({arguments}{rest}")
            expected.add(
                f"torchrev::{name}.context({arguments}, Any context{rest}")
        registered = {
            str(schema) for schema in torch._C._jit_get_all_schemas()
            if schema.name.startswith("torchrev::")
        }
        self.assertEqual(registered, expected)


def child(blocks, index):
    # A scripted ModuleList, indexed, gives the module before scripting.
    return getattr(blocks, str(index))


class CallTest(Checks, unittest.TestCase):
    """Each operator, called from Python with scripted branches."""

    def setUp(self):
        self.stack, self.plain = make_pair(depth=2)
        self.x = streams()

    def test_block(self):
        first = child(self.stack.blocks, 0)
        plain = PlainStack(list(self.plain.blocks)[:1])
        self.assert_equal(
            ops.reversible_block(first.f, first.g, *self.x), plain(*self.x))

    def test_sequence(self):
        self.assert_equal(
            ops.reversible_sequence(self.stack.blocks, *self.x),
            self.plain(*self.x))

    def test_gradients_of_a_sequence(self):
        def eager(x1, x2):
            return ops.reversible_sequence(self.stack.blocks, x1, x2)
        eager.parameters = self.stack.parameters
        self.assert_close(
            gradients(eager, self.x), gradients(self.plain, self.x))

    def test_residual_of_halves(self):
        for dim in (-1, 0):
            x = torch.cat(self.x, dim)
            blocks = self.stack.blocks
            # split(-1) is the default
            y = ops.reversible_residual(blocks, x) if dim == -1 else (
                ops.reversible_residual(blocks, x, dim=dim))
            self.assert_equal([y], [torch.cat(self.plain(*self.x), dim)])

    def test_residual_of_duplicates(self):
        x = self.x[0]
        y = ops.reversible_residual(self.stack.blocks, x, streams="duplicate")
        y1, y2 = self.plain(x, x)
        self.assert_close([y], [(y1 + y2) / 2])

    def test_inverses(self):
        first = child(self.stack.blocks, 0)
        y = ops.reversible_block(first.f, first.g, *self.x)
        self.assert_close(
            ops.reversible_block_inverse(first.f, first.g, *y), self.x)
        y = ops.reversible_sequence(self.stack.blocks, *self.x)
        self.assert_close(
            ops.reversible_sequence_inverse(self.stack.blocks, *y), self.x)

    def test_residual_inverse_along_a_dimension(self):
        for dim in (-1, 0):
            x = torch.cat(self.x, dim)
            y = ops.reversible_residual(self.stack.blocks, x, dim=dim)
            keywords = {} if dim == -1 else {"dim": dim}
            self.assert_close(
                [ops.reversible_residual_inverse(
                    self.stack.blocks, y, **keywords)], [x])
            self.assert_close(
                [ops.reversible_residual_inverse(
                    self.stack.blocks, y, None, **keywords)], [x])

    def test_gradients_of_inverses(self):
        def inverse_of_plain(y1, y2):
            for block in reversed(list(self.plain.blocks)):
                y2 = y2 - block.g(y1)
                y1 = y1 - block.f(y2)
            return y1, y2

        def of_streams(y1, y2):
            return ops.reversible_sequence_inverse(self.stack.blocks, y1, y2)

        def of_halves(y1, y2):
            y = torch.cat([y1, y2], -1)
            return ops.reversible_residual_inverse(
                self.stack.blocks, y).chunk(2, -1)

        inverse_of_plain.parameters = self.plain.parameters
        expected = gradients(inverse_of_plain, self.x)
        for inverse in (of_streams, of_halves):
            inverse.parameters = self.stack.parameters
            self.assert_close(gradients(inverse, self.x), expected)

    def test_every_option_at_its_default(self):
        y = ops.reversible_sequence(
            self.stack.blocks, *self.x, preserve_rng_state=True, save_every=0,
            store_last=0, chunks_f=1, chunks_g=1, chunk_dim=1,
            stream_dtype=None, fraction_bits=None, drift_tolerance=0.05,
            coupling="additive", momentum=0.9,
            mutable_buffers=False, verify_constant_buffers=False,
            verify_first_call=True)
        self.assert_equal(y, self.plain(*self.x))


class ScriptTest(Checks, unittest.TestCase):
    """A module whose forward calls an operator."""

    def setUp(self):
        self.stack, self.plain = make_pair()
        self.x = streams()

    def assert_equals_plain(self, stack):
        self.assert_equal(stack(*self.x), self.plain(*self.x))
        self.assert_close(
            gradients(stack, self.x), gradients(self.plain, self.x))

    def test_equals_plain_while_its_executor_warms_up(self):
        for _ in range(4):
            self.assert_equals_plain(self.stack)

    def test_every_operator_compiles(self):
        class Everything(nn.Module):
            def __init__(self, blocks):
                super().__init__()
                self.blocks = blocks
                self.f, self.g = blocks[0].f, blocks[0].g

            def forward(self, x1, x2):
                y1, y2 = torch.ops.torchrev.reversible_block(
                    self.f, self.g, x1, x2)
                x1, x2 = torch.ops.torchrev.reversible_block_inverse(
                    self.f, self.g, y1, y2)
                y1, y2 = torch.ops.torchrev.reversible_sequence(
                    self.blocks, x1, x2, preserve_rng_state=False)
                x1, x2 = torch.ops.torchrev.reversible_sequence_inverse(
                    self.blocks, y1, y2)
                y = torch.ops.torchrev.reversible_residual(
                    self.blocks, torch.cat([x1, x2]), streams="split", dim=0)
                x = torch.ops.torchrev.reversible_residual_inverse(
                    self.blocks, y, dim=0)
                return torch.ops.torchrev.reversible_residual(
                    self.blocks, x, dim=0)

        y = torch.jit.script(Everything(self.plain.blocks))(*self.x)
        self.assert_close([y], [torch.cat(self.plain(*self.x))])

    def test_trains_the_modules_that_were_scripted(self):
        stack = ReversibleStack(self.plain.blocks)
        scripted = torch.jit.script(stack)
        for ours, theirs in zip(stack.parameters(), scripted.parameters()):
            self.assertEqual(ours.data_ptr(), theirs.data_ptr())

    def test_deep_copy_is_independent(self):
        # With grad mode on, PyTorch's copy of a ScriptModule has no leaves.
        with torch.no_grad():
            clone = copy.deepcopy(self.stack)
        for parameter in clone.parameters():
            parameter.requires_grad_()
        self.assert_equals_plain(clone)
        with torch.no_grad():
            for parameter in clone.parameters():
                parameter.zero_()
        self.assert_equals_plain(self.stack)

    def test_one_block_twice(self):
        block = Block(branch(), branch())
        plain = PlainStack([block, block]).double()
        scripted = torch.jit.script(
            ReversibleStack(copy.deepcopy(plain.blocks)))
        self.assertEqual(len(list(scripted.parameters())), 4)
        self.assert_close(
            gradients(scripted, self.x), gradients(plain, self.x))


class FileTest(Checks, unittest.TestCase):

    def setUp(self):
        self.stack, self.plain = make_pair()
        self.x = streams()

    def saved_and_loaded(self, stack):
        file = io.BytesIO()
        torch.jit.save(stack, file)
        file.seek(0)
        return torch.jit.load(file)

    def test_loaded_model_trains_on(self):
        stacks = [self.saved_and_loaded(self.stack), self.plain]
        optimizers = [
            torch.optim.Adam(stack.parameters(), lr=0.01) for stack in stacks]
        for _ in range(3):
            for stack, optimizer in zip(stacks, optimizers):
                optimizer.zero_grad()
                support.loss_of(stack(*self.x)).backward()
                optimizer.step()
        # Adam divides by the root of squares: rounding grows.
        self.assert_close(
            *[list(stack.parameters()) for stack in stacks], tolerance=1e-9)

    def test_state_dict_is_that_of_the_plain_stack(self):
        self.plain.load_state_dict(self.stack.state_dict())
        self.stack.load_state_dict(self.plain.state_dict())
        self.assert_equal(self.stack(*self.x), self.plain(*self.x))

    def test_frozen_with_preserved_attrs(self):
        frozen = torch.jit.freeze(
            self.stack.eval(), preserved_attrs=["blocks"])
        for stack in (
                frozen, torch.jit.optimize_for_inference(frozen),
                self.saved_and_loaded(frozen)):
            self.assert_equal(stack(*self.x), self.plain(*self.x))

    def assert_names_the_way_out(self, stack, *inputs):
        with self.assertRaisesRegex(RuntimeError, "preserved_attrs"):
            stack(*inputs)

    def test_frozen_without_preserved_attrs(self):
        self.assert_names_the_way_out(
            torch.jit.freeze(self.stack.eval()), *self.x)
        self.assert_names_the_way_out(
            torch.jit.optimize_for_inference(self.stack.eval()), *self.x)

    def test_frozen_block_without_preserved_attrs(self):
        class OneBlock(nn.Module):
            def __init__(self):
                super().__init__()
                self.f, self.g = branch(), branch()

            def forward(self, x1, x2):
                return torch.ops.torchrev.reversible_block(
                    self.f, self.g, x1, x2)

        one = torch.jit.script(OneBlock()).double().eval()
        self.assert_names_the_way_out(torch.jit.freeze(one), *self.x)
        kept = torch.jit.freeze(one, preserved_attrs=["f", "g"])
        self.assert_equal(kept(*self.x), one(*self.x))


if __name__ == "__main__":
    unittest.main()
