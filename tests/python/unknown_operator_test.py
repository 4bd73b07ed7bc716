"""A saved model without the library: an error first, then load_library."""

import os
import subprocess
import sys
import tempfile
import unittest

LIBRARY = os.environ["TORCHREV_LIBRARY"]

# Saves a model and what it says.
SAVE = """
import sys, torch
from support import make_pair, streams
stack, _ = make_pair()
stack.save(sys.argv[1])
torch.save([y.detach() for y in stack(*streams())], sys.argv[2])
"""

# Loads it where nothing has loaded the library.
LOAD = """
import sys, torch
try:
    torch.jit.load(sys.argv[1])
except RuntimeError as error:
    assert "Unknown builtin op: torchrev::reversible_sequence" in str(error)
else:
    raise AssertionError("loaded without the library")

torch.ops.load_library(sys.argv[3])
stack = torch.jit.load(sys.argv[1])
from support import streams
for y, expected in zip(stack(*streams()), torch.load(sys.argv[2])):
    assert torch.equal(y, expected)
print("the same outputs")
"""


def run(program, *arguments):
    folder = os.path.dirname(os.path.abspath(__file__))
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=folder, check=True,
        stdout=subprocess.PIPE, text=True).stdout


class UnknownOperatorTest(unittest.TestCase):

    def test_model_loads_once_the_library_is_loaded(self):
        with tempfile.TemporaryDirectory() as folder:
            files = [f"{folder}/model.pt", f"{folder}/outputs.pt"]
            run(SAVE, *files)
            self.assertIn("the same outputs", run(LOAD, *files, LIBRARY))


if __name__ == "__main__":
    unittest.main()
