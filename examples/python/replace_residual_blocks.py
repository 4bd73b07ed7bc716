"""Replaces the residual blocks of a small ResNet by reversible ones.

A stage of n residual blocks on C channels becomes torchrev::reversible_residual
with 2 n blocks, whose F and G are residual functions on C / 2 channels: as many
convolution weights as before. Both networks learn to tell noisy shapes apart.

    python replace_residual_blocks.py --library build/libtorchrev.so
"""

import argparse

import torch
from torch import nn

def residual_function(channels):
    layers = []
    for _ in range(2):
        layers += [nn.BatchNorm2d(channels), nn.ReLU(),
                   nn.Conv2d(channels, channels, 3, padding=1)]
    return nn.Sequential(*layers)


class ResidualBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.residual = residual_function(channels)

    def forward(self, x):
        return x + self.residual(x)


class ReversibleBlock(nn.Module):  # holds F and G, has no forward
    def __init__(self, channels):
        super().__init__()
        self.f = residual_function(channels // 2)
        self.g = residual_function(channels // 2)


class ReversibleStage(nn.Module):
    def __init__(self, channels, blocks):
        super().__init__()
        self.blocks = nn.ModuleList(
            ReversibleBlock(channels) for _ in range(2 * blocks))

    def forward(self, x):
        return torch.ops.torchrev.reversible_residual(self.blocks, x, dim=1)


def residual_stage(channels, blocks):
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))


def resnet(stage, blocks):
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), stage(16, blocks),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), stage(32, blocks),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 3))


def images(count, size=32):
    """Disks, squares and crosses with noise: [N, 1, size, size]."""
    labels = torch.randint(3, (count,))
    radius = torch.randint(5, 10, (count, 1, 1))
    pixels = torch.arange(size) - torch.randint(10, size - 10, (2, count, 1))
    dx, dy = pixels[0].abs().unsqueeze(1), pixels[1].abs().unsqueeze(2)
    square = torch.maximum(dx, dy) <= radius
    cross = square & (torch.minimum(dx, dy) <= radius // 3)
    disk = dx.square() + dy.square() <= radius.square()
    shapes = torch.stack([disk, square, cross])[labels, torch.arange(count)]
    return shapes.unsqueeze(1) + 0.5 * torch.randn(count, 1, size, size), labels


def saved_mib(model, inputs):
    """What autograd saves of a forward, each storage once, parameters not."""
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(inputs)  # keeps alive what is counted
    for parameter in model.parameters():
        saved.pop(parameter.untyped_storage().data_ptr(), None)
    return sum(saved.values()) / 2**20


def train(name, model, arguments):
    torch.manual_seed(2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(1, arguments.steps + 1):
        inputs, labels = images(32)
        loss = nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 1 or step % 10 == 0:
            print(f"{name}  step {step}  loss {loss.item():.4f}", flush=True)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{name}  parameters {parameters}  saved for backward "
          f"{saved_mib(model, images(32)[0]):.1f} MiB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", required=True, help="libtorchrev.so")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--blocks", type=int, default=2, help="in each stage")
    arguments = parser.parse_args()
    torch.ops.load_library(arguments.library)
    torch.manual_seed(1)
    train("residual  ", resnet(residual_stage, arguments.blocks), arguments)
    reversible = resnet(ReversibleStage, arguments.blocks)
    train("reversible", torch.jit.script(reversible), arguments)


if __name__ == "__main__":
    main()
