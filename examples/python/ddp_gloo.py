"""Trains a reversible model in two processes with DistributedDataParallel.

Each process trains on its half of every batch. Its parameters must then equal
those of the other process, and those of a single process that trained on whole
batches. One block is used twice, and with find_unused_parameters the model has
a layer that is never called.

    python ddp_gloo.py --library build/libtorchrev.so [--scripted]
"""

import argparse
import copy
import os
import tempfile

import torch
from torch import distributed, multiprocessing, nn

PROCESSES = 2
WIDTH = 16
BATCH = 32
# Parameters are float64: rounding stays far below this, a mistake does not.
TOLERANCE = 1e-6


class Block(nn.Module):  # holds F and G, has no forward
    def __init__(self):
        super().__init__()
        self.f = self.branch()
        self.g = self.branch()

    @staticmethod
    def branch():
        return nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(),
            nn.Linear(4 * WIDTH, WIDTH))


class Model(nn.Module):
    def __init__(self, blocks, unused):
        super().__init__()
        self.blocks = blocks
        self.head = nn.Linear(2 * WIDTH, 1)
        self.never_called = nn.Linear(WIDTH, WIDTH) if unused else nn.Identity()

    def forward(self, x):
        y1, y2 = torch.ops.torchrev.reversible_sequence(self.blocks, x, x)
        return self.head(torch.cat([y1, y2], dim=-1))


def make_model(scripted, unused):
    """The operator is called from TorchScript, or from Python with scripted
    blocks inside a plain torch.nn.Module."""
    torch.manual_seed(1)
    first, second = Block(), Block()
    blocks = nn.ModuleList([first, second, first])
    if scripted:
        return torch.jit.script(Model(blocks, unused)).double()
    return Model(torch.jit.script(blocks), unused).double()


def train(model, steps, rows):
    """Trains on these rows of every batch."""
    generator = torch.Generator().manual_seed(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        x = torch.randn(
            BATCH, WIDTH, generator=generator, dtype=torch.double)[rows]
        loss = nn.functional.mse_loss(model(x), x.sin().mean(-1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def train_halves(rank, arguments, folder):
    """Runs in a process of its own; leaves its parameters in `folder`."""
    torch.ops.load_library(arguments.library)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank,
        world_size=PROCESSES)
    size = BATCH // PROCESSES
    for unused in (False, True):
        model = make_model(arguments.scripted, unused)
        parallel = nn.parallel.DistributedDataParallel(
            model, find_unused_parameters=unused)
        train(parallel, arguments.steps, slice(rank * size, (rank + 1) * size))
        torch.save(model.state_dict(), f"{folder}/{rank}-{unused}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def largest_difference(state, other):
    # Not Python's max(), which loses a NaN.
    return torch.stack(
        [(state[name] - other[name]).abs().max() for name in state]).max()


def compare(arguments, folder, unused):
    """Returns whether all parameters are equal, and says by how much not."""
    first, second = (
        torch.load(f"{folder}/{rank}-{unused}.pt") for rank in range(PROCESSES))
    model = make_model(arguments.scripted, unused)
    initial = copy.deepcopy(model.state_dict())
    loss = train(model, arguments.steps, slice(None))
    single = model.state_dict()
    between = largest_difference(first, second)
    to_single = largest_difference(first, single)
    print(
        f"find_unused_parameters={unused}  loss {loss:.4f}  parameters moved "
        f"by {largest_difference(initial, single):.1e}  difference of the "
        f"processes {between:.1e}, from a single one {to_single:.1e}")
    return bool(between <= TOLERANCE and to_single <= TOLERANCE)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", required=True, help="libtorchrev.so")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument(
        "--scripted", action="store_true",
        help="wrap a ScriptModule instead of a module with scripted blocks")
    arguments = parser.parse_args()
    arguments.library = os.path.abspath(arguments.library)
    torch.ops.load_library(arguments.library)
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(
            train_halves, (arguments, folder), nprocs=PROCESSES)
        equal = [compare(arguments, folder, unused) for unused in (False, True)]
    if not all(equal):
        raise SystemExit(f"parameters differ by more than {TOLERANCE}")
    print("all parameters are equal")


if __name__ == "__main__":
    main()
