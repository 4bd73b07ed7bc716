"""A scripted model keeps what plain autograd promises: random numbers, buffers,
autocast, higher derivatives, hooks, context."""

import unittest

import torch
from torch import nn

import support
from support import (
    Block, Checks, ReversibleStack, gradients, loss_of, make_pair, ops, streams)

WIDTH = support.WIDTH


def eager(scripted):
    """The same blocks, with the operator called from Python."""
    def stack(x1, x2):
        return ops.reversible_sequence(scripted.blocks, x1, x2)
    stack.parameters = scripted.parameters
    return stack


class Attention(nn.Module):
    """Takes a fast path in eval mode, if grad mode is off."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        padding = torch.tensor([[False, False], [False, True], [True, True]])
        self.register_buffer('padding', padding)

    def forward(self, x):
        rows = x.view(3, 2, -1)
        y = self.attention(
            rows, rows, rows, key_padding_mask=self.padding,
            need_weights=False)[0]
        return y.reshape(x.size())


class Forks(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def half(self, x):
        return torch.sin(self.linear(x))

    def forward(self, x):
        future = torch.jit.fork(self.half, x)
        return torch.tanh(self.linear(x)) + torch.jit.wait(future)


class ReplayTest(Checks, unittest.TestCase):
    """The recompute runs F and G exactly as they ran."""

    @staticmethod
    def seeded_step(stack, inputs):
        torch.manual_seed(3)
        outputs = stack(*inputs)
        leaves = [*inputs, *stack.parameters()]
        grads = torch.autograd.grad(loss_of(outputs), leaves)
        return outputs, grads, torch.get_rng_state()

    def test_dropout_masks_are_those_of_the_plain_stack(self):
        scripted, plain = make_pair(
            lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.5)))
        x = streams()
        y, grads, state = self.seeded_step(plain, x)
        self.assertTrue(any((grad == 0).any() for grad in grads))
        for stack in (scripted, scripted, scripted, eager(scripted)):
            actual = self.seeded_step(stack, x)
            self.assert_equal(actual[0], y)
            self.assert_close(actual[1], grads)
            self.assert_equal([actual[2]], [state])

    def test_batch_norm_buffers_equal_the_plain_stack_to_the_bit(self):
        scripted, plain = make_pair(
            lambda: nn.Sequential(nn.BatchNorm1d(WIDTH), nn.Tanh()))
        for _ in range(4):
            x = streams()
            self.assert_close(gradients(scripted, x), gradients(plain, x))
        self.assert_equal(list(scripted.buffers()), list(plain.buffers()))
        self.assertEqual(
            plain.blocks[0].f[0].num_batches_tracked.item(), 4)

    def test_attention_in_eval_mode_is_that_of_plain_autograd(self):
        scripted, plain = make_pair(Attention)
        scripted.eval()
        plain.eval()
        x = streams(6, WIDTH)
        for stack in (scripted, eager(scripted)):
            self.assert_equal(stack(*x), plain(*x))
            self.assertFalse(any(y.isnan().any() for y in stack(*x)))
            self.assert_close(gradients(stack, x), gradients(plain, x))

    def test_work_that_is_forked_matches_plain_autograd(self):
        scripted, plain = make_pair(Forks)
        x = streams()
        for _ in range(3):
            self.assert_close(gradients(scripted, x), gradients(plain, x))

    def test_eval_mode(self):
        scripted, plain = make_pair(lambda: nn.Sequential(
            nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, WIDTH), nn.Dropout(0.5)))
        x = streams()
        for stack in (scripted, plain):
            stack.eval()
        self.assert_equal(scripted(*x), plain(*x))
        self.assert_close(gradients(scripted, x), gradients(plain, x))
        self.assert_equal(list(scripted.buffers()), list(plain.buffers()))

    def test_autocast_with_backward_outside_its_region(self):
        scripted, plain = make_pair(
            lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()))
        # TorchScript rounds the gradients of a scripted module otherwise than
        # those of the same module in Python, by three of the last bits here.
        for block in plain.blocks:
            block.f = torch.jit.script(block.f)
            block.g = torch.jit.script(block.g)
        for stack in (scripted, plain):
            stack.float()
        x = streams(dtype=torch.float)

        def step(stack):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                y = stack(*x)
            leaves = [*x, *stack.parameters()]
            return y, torch.autograd.grad(loss_of(y), leaves)

        y, grads = step(plain)
        self.assertFalse(torch.equal(y[0], plain(*x)[0]), "autocast was off")
        for stack in (scripted, scripted, eager(scripted)):
            actual, actual_grads = step(stack)
            self.assert_equal(actual, y)
            # Rounding of rebuilt float32 streams may flip the last of the 8
            # bits of a bfloat16; gradients are of the order of 1.
            self.assert_close(actual_grads, grads, tolerance=2.0**-7)


class BackwardTest(Checks, unittest.TestCase):

    def setUp(self):
        self.scripted, self.plain = make_pair()
        self.x = streams()

    def penalty_gradients(self, stack):
        """Of a loss that holds the squared norm of the input's gradient."""
        loss = loss_of(stack(*self.x))
        grads = torch.autograd.grad(loss, self.x, create_graph=True)
        loss = loss + sum(grad.square().sum() for grad in grads)
        return torch.autograd.grad(loss, [*self.x, *stack.parameters()])

    def test_gradient_penalty(self):
        expected = self.penalty_gradients(self.plain)
        for stack in (
                self.scripted, self.scripted, self.scripted,
                eager(self.scripted)):
            self.assert_close(self.penalty_gradients(stack), expected)

    def test_retained_graph(self):
        loss = loss_of(self.scripted(*self.x))
        leaves = [*self.x, *self.scripted.parameters()]
        expected = gradients(self.plain, self.x)
        for _ in range(3):
            self.assert_close(
                torch.autograd.grad(loss, leaves, retain_graph=True), expected)

    def test_backward_accumulates_as_always(self):
        for _ in range(2):
            loss_of(self.scripted(*self.x)).backward()
        actual = [p.grad for p in self.scripted.parameters()]
        expected = gradients(self.plain, self.x)[len(self.x):]
        self.assert_close(actual, [2 * grad for grad in expected])

    def test_grad_touches_no_grad_field(self):
        gradients(self.scripted, self.x)
        for tensor in [*self.x, *self.scripted.parameters()]:
            self.assertIsNone(tensor.grad)

    def test_hooks_fire_once(self):
        calls = {}
        for name, parameter in self.scripted.named_parameters():
            def hook(grad, name=name):
                calls[name] = calls.get(name, 0) + 1
                return 2 * grad
            parameter.register_hook(hook)
        loss_of(self.scripted(*self.x)).backward()
        names = [name for name, _ in self.scripted.named_parameters()]
        self.assertEqual(calls, dict.fromkeys(names, 1))
        expected = gradients(self.plain, self.x)[len(self.x):]
        self.assert_close(
            [p.grad for p in self.scripted.parameters()],
            [2 * grad for grad in expected])

    def test_frozen_parameter(self):
        for stack in (self.scripted, self.plain):
            next(iter(stack.parameters())).requires_grad_(False)
            loss_of(stack(*self.x)).backward()
        for ours, theirs in zip(
                self.scripted.parameters(), self.plain.parameters()):
            self.assertEqual(ours.grad is None, theirs.grad is None)
            if theirs.grad is not None:
                self.assert_close([ours.grad], [theirs.grad])

    def test_optimizer_step_before_backward_is_an_error(self):
        loss = loss_of(self.scripted(*self.x))
        with torch.no_grad():
            for parameter in self.scripted.parameters():
                parameter.add_(1)
        with self.assertRaisesRegex(ValueError, "modified in place"):
            loss.backward()


class Scale(nn.Module):
    def forward(self, x, scale):
        return x.sin() * scale


class ScaleAndShift(nn.Module):
    def forward(self, x, scale, shift: torch.Tensor | None = None):
        y = x.cos() * scale
        return y if shift is None else y + shift


class ContextTest(Checks, unittest.TestCase):
    """The overloads with context: F takes its first tensor, G both."""

    def setUp(self):
        stack = ReversibleStack([Block(Scale(), ScaleAndShift())] * 2)
        self.blocks = torch.jit.script(stack).blocks
        self.x = streams()
        self.scale = torch.tensor(0.5, dtype=torch.double, requires_grad=True)
        self.shift = torch.tensor(0.25, dtype=torch.double, requires_grad=True)

    def assert_equals_plain(self, context, scale, shift):
        x1, x2 = self.x
        for _ in range(2):
            x1 = x1 + x2.sin() * scale
            x2 = x2 + x1.cos() * scale + (0 if shift is None else shift)
        y = ops.reversible_sequence(self.blocks, *self.x, context)
        self.assert_close(y, [x1, x2])
        leaves = [*self.x, *(t for t in (scale, shift) if t is not None)]
        self.assert_close(
            torch.autograd.grad(loss_of(y), leaves),
            torch.autograd.grad(loss_of([x1, x2]), leaves))
        x = ops.reversible_sequence_inverse(self.blocks, *y, context)
        self.assert_close(x, self.x)

    def test_tensor(self):
        self.assert_equals_plain(self.scale, self.scale, None)

    def test_list(self):
        self.assert_equals_plain(
            [self.scale, self.shift], self.scale, self.shift)

    def test_tuple(self):
        self.assert_equals_plain(
            (self.scale, self.shift), self.scale, self.shift)

    def test_none_in_a_tuple(self):
        self.assert_equals_plain((self.scale, None), self.scale, None)

    def test_by_name(self):
        y = ops.reversible_sequence(self.blocks, *self.x, context=self.scale)
        z = ops.reversible_sequence(self.blocks, *self.x, self.scale)
        self.assert_equal(y, z)

    def test_none_for_branches_without_context(self):
        scripted, plain = make_pair()
        y = ops.reversible_sequence(scripted.blocks, *self.x, None)
        self.assert_equal(y, plain(*self.x))

    def test_in_a_script(self):
        class WithContext(ReversibleStack):
            def forward(self, x1, x2, scale, shift: torch.Tensor | None):
                return torch.ops.torchrev.reversible_sequence(
                    self.blocks, x1, x2, (scale, shift))

        stack = torch.jit.script(
            WithContext([Block(Scale(), ScaleAndShift())] * 2))
        for shift in (self.shift, None):
            self.assert_equal(
                stack(*self.x, self.scale, shift),
                ops.reversible_sequence(
                    self.blocks, *self.x, (self.scale, shift)))


if __name__ == "__main__":
    unittest.main()
