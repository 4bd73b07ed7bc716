"""Trains a scripted reversible language model on Python's own source text.

It predicts the next byte with causal attention (F) and feed-forward layers (G).
torchrev::reversible_sequence keeps one pair of streams of its blocks, whatever
`--depth` says. A program without Python loads the saved model as well.

    python train_scripted.py --library build/libtorchrev.so
"""

import argparse
import math
import pathlib
import tempfile

import torch
from torch import nn


class CausalAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.project_in = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 3 * width))
        self.project_out = nn.Linear(width, width)

    def forward(self, x):
        qkv = self.project_in(x).unflatten(-1, (3, self.heads, -1))
        qkv = qkv.permute(2, 0, 3, 1, 4)  # [3, N, heads, L, C]
        out = nn.functional.scaled_dot_product_attention(
            qkv[0], qkv[1], qkv[2], is_causal=True)
        return self.project_out(out.transpose(1, 2).flatten(-2))


class Block(nn.Module):  # holds F and G, has no forward
    def __init__(self, width):
        super().__init__()
        self.f = CausalAttention(width, heads=4)
        self.g = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(),
            nn.Linear(4 * width, width))


class ByteModel(nn.Module):
    def __init__(self, depth, width, length):
        super().__init__()
        self.bytes = nn.Embedding(256, 2 * width)
        self.positions = nn.Parameter(torch.zeros(length, 2 * width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(2 * width, 256)

    def forward(self, text):
        x = self.bytes(text) + self.positions[:text.size(1)]
        x1, x2 = x.chunk(2, dim=-1)
        y1, y2 = torch.ops.torchrev.reversible_sequence(self.blocks, x1, x2)
        return self.head(torch.cat([y1, y2], dim=-1))


def standard_library():
    """The top-level modules of Python's standard library, as one tensor."""
    files = sorted(pathlib.Path(argparse.__file__).parent.glob("*.py"))
    text = bytearray().join(file.read_bytes() for file in files)
    return torch.frombuffer(text, dtype=torch.uint8).long()


def batch(text, size, length):
    starts = torch.randint(len(text) - length, (size, 1))
    windows = text[starts + torch.arange(length + 1)]  # [N, L + 1]
    return windows[:, :-1], windows[:, 1:]


def bits_per_byte(model, inputs, targets):
    logits = model(inputs).flatten(0, 1)
    return nn.functional.cross_entropy(logits, targets.flatten()) / math.log(2)


def train(model, text, arguments):
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(1, arguments.steps + 1):
        loss = bits_per_byte(model, *batch(text, 16, arguments.length))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 1 or step % 10 == 0:
            print(f"step {step}  bits per byte {loss.item():.4f}", flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", required=True, help="libtorchrev.so")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--save", help="where the model is saved")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    torch.ops.load_library(arguments.library)
    torch.manual_seed(1)
    text = standard_library()
    size = len(text) * 9 // 10
    model = torch.jit.script(ByteModel(arguments.depth, 64, arguments.length))
    train(model, text[:size], arguments)

    inputs, targets = batch(text[size:], 64, arguments.length)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        print(f"held out  {bits_per_byte(model, inputs, targets).item():.4f}")
        path = arguments.save or f"{folder}/model.pt"
        model.save(path)
        if not torch.equal(torch.jit.load(path)(inputs), model(inputs)):
            raise SystemExit("the loaded model does not give the same output")
        print("the loaded model gives the same output")


if __name__ == "__main__":
    main()
