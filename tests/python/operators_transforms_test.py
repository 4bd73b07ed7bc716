"""Transforms, fake tensors, None as context, names: right, or an error."""

import unittest
from typing import Optional

import torch
from torch import nn
from torch.autograd import forward_ad

import support
from support import Block, Checks, branch, make_pair, ops, streams


class DropsOut(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(support.WIDTH, support.WIDTH)

    def forward(self, x):
        return nn.functional.dropout(torch.tanh(self.linear(x)), 0.25)


class TakesOptional(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(support.WIDTH, support.WIDTH)

    def forward(self, x: Optional[torch.Tensor]):
        assert x is not None
        return torch.tanh(self.linear(x))


class TakesMask(nn.Module):
    def forward(self, x, mask):
        return x * mask


class TransformTest(unittest.TestCase, Checks):

    def setUp(self):
        self.stack, self.plain = make_pair()
        self.x = streams()

    def call(self, x1, x2):
        return ops.reversible_sequence(self.stack.blocks, x1, x2)

    def assert_refused(self, parts, call):
        with self.assertRaises(NotImplementedError) as caught:
            call()
        text = str(caught.exception)
        self.assertTrue(
            text.startswith("torchrev::reversible_sequence: expected "), text)
        for part in parts:
            self.assertIn(part, text)

    def test_transforms_of_functions_are_refused(self):
        x = [x.detach() for x in self.x]
        pairs = [torch.stack([x, x]) for x in x]
        for call in (
                lambda: torch.func.vmap(self.call)(*pairs),
                lambda: torch.func.jvp(self.call, tuple(x), tuple(x)),
                lambda: torch.func.vjp(self.call, *x),
                lambda: torch.func.grad(
                    lambda *x: support.loss_of(self.call(*x)))(*x),
                lambda: torch.func.functionalize(self.call)(*x)):
            self.assert_refused(["torch.func", "`x1`"], call)

    def test_forward_mode_is_refused(self):
        for frozen in (False, True):
            for parameter in self.stack.parameters():
                parameter.requires_grad_(not frozen)
            with forward_ad.dual_level():
                x = [forward_ad.make_dual(x.detach(), x.detach())
                     for x in self.x]
                self.assert_refused(
                    ["forward-mode", "dual"], lambda: self.call(*x))

    def test_fake_tensors_are_refused(self):
        mode = torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True)
        with mode:
            fakes = [mode.from_tensor(x) for x in self.x]
            self.assert_refused(
                ["FakeTensor", "meta"], lambda: self.call(*fakes))
            self.assert_refused(
                ["FakeTensor", "meta"], lambda: self.call(*self.x))

    def test_meta_tensors_pass(self):
        x = [x.detach().to("meta").requires_grad_() for x in self.x]
        found = support.gradients(self.stack.to("meta"), x)
        self.assertEqual(found[0].shape, x[0].shape)

    def test_batched_gradients(self):
        for make in (branch, DropsOut):
            stacks = make_pair(make)
            found = []
            for stack in stacks:
                torch.manual_seed(3)
                y = stack(*self.x)
                directions = [torch.stack([y, y.sin()]).detach() for y in y]
                leaves = [*self.x, *stack.parameters()]

                def vjp(*g):
                    return torch.autograd.grad(y, leaves, g, retain_graph=True)

                found.append([
                    *torch.func.vmap(vjp)(*directions),
                    *torch.autograd.grad(
                        y, leaves, directions, is_grads_batched=True)])
            self.assert_close(*found)


class ContextTest(unittest.TestCase, Checks):

    def test_x_may_be_optional(self):
        stack, plain = make_pair(TakesOptional)
        self.assert_equal(stack(*streams()), plain(*streams()))

    def test_none_for_a_tensor_names_the_argument(self):
        blocks = torch.jit.script(
            nn.ModuleList([Block(TakesMask(), TakesMask())]))
        with self.assertRaises(TypeError) as caught:
            ops.reversible_sequence(blocks, *streams(), None)
        for part in ("torchrev::reversible_sequence: expected ", "`mask`",
                     "`blocks[0].f`", "None", "Optional[Tensor]"):
            self.assertIn(part, str(caught.exception))


class NamesTest(unittest.TestCase):

    def setUp(self):
        self.stack, _ = make_pair(depth=1)

    def test_of_nodes(self):
        y = self.stack(*streams())[0]
        self.assertEqual(y.grad_fn.name(), "torchrev::ReversibleStack")
        step = y.grad_fn.next_functions[0][0]
        self.assertEqual(step.name(), "torchrev::ReversibleStep")

    def test_in_a_profile(self):
        with torch.profiler.profile() as profile:
            support.loss_of(self.stack(*streams())).backward()
        names = {event.key for event in profile.key_averages()}
        for name in ("torchrev::F of block 0 (forward)",
                     "torchrev::G of block 0 (recompute)"):
            self.assertIn(name, names)
        self.assertFalse([n for n in names if "detail" in n])

    def test_of_the_place_in_an_error(self):
        with self.assertRaisesRegex(
                RuntimeError, "in F of block 0 of torchrev::reversible_s"):
            self.stack(*streams(3, 2 * support.WIDTH))

    def test_check_deferred_can_be_called(self):
        self.assertIsNone(ops.check_deferred())


if __name__ == "__main__":
    unittest.main()
