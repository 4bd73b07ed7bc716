"""Memory over depth, and time over kept bytes, as tables and plots.

    python sweep.py --program build/tests/benchmark/benchmark_step

writes memory_over_depth.{csv,svg} and time_over_bytes.{csv,svg} into --results.
"""

import argparse
import csv
import pathlib
import subprocess
import tempfile

from svg_plot import Plot, Series

MIB = 2**20


def run_benchmark(arguments, *options):
    """The rows of one run of benchmark_step."""
    with tempfile.TemporaryDirectory() as folder:
        table = pathlib.Path(folder) / "table.csv"
        subprocess.run(
            [arguments.program, f"--csv={table}", f"--width={arguments.width}",
             f"--tokens={arguments.tokens}", *options], check=True)
        with open(table, newline="") as file:
            return list(csv.DictReader(file))


def measure_depths(arguments):
    # Bytes are exact: one round is enough.
    return [
        row for depth in arguments.depths
        for row in run_benchmark(arguments, f"--depth={depth}", "--rounds=1")
        if row["variant"] in ("plain", "torchrev")
    ]


def measure_stored(arguments):
    stored = ",".join(str(n) for n in range(1, arguments.depth + 1))
    rows = run_benchmark(arguments, f"--depth={arguments.depth}",
                         f"--store-last={stored}",
                         f"--rounds={arguments.rounds}")
    return [row for row in rows if row["variant"] != "floor"]


def points_of(rows, x, y):
    return [(x(row), y(row)) for row in rows]


def mib(column):
    return lambda row: int(row[column]) / MIB


def plot_depths(arguments, rows):
    series = []
    for variant, name in ("plain", "plain autograd"), ("torchrev", "torchrev"):
        chosen = [row for row in rows if row["variant"] == variant]
        series.append(Series(name, points_of(
            chosen, lambda row: int(row["depth"]), mib("peak_bytes"))))
    return Plot(
        f"Peak memory of a training step, {arguments.tokens} x "
        f"{arguments.width}", "blocks", "MiB", series)


def plot_stored(arguments, rows):
    plain = [row for row in rows if row["variant"] == "plain"]
    ours = [row for row in rows if row["variant"] != "plain"]

    def time(row):
        return float(row["x_plain"])

    peak = mib("peak_bytes")
    straight = Series("plain autograd",
                      points_of([ours[0], plain[0]], peak, time), dashed=True)
    measured = Series(f"torchrev, store_last = 0 to {arguments.depth}",
                      points_of(ours, peak, time), name_first=True)
    return Plot(
        f"Time of a training step over its memory, {arguments.depth} blocks, "
        f"{arguments.tokens} x {arguments.width}",
        "peak memory, MiB", "time, plain autograd = 1",
        [straight, measured], y_low=0.9)


def distances_from_line(rows):
    """Of each peak from the line between `store_last` = 0 and plain autograd,
    relative to the line; negative below it."""
    plain = int(rows[0]["peak_bytes"])
    first = int(rows[1]["peak_bytes"])
    depth = int(rows[0]["depth"])
    distances = []
    for row in rows[1:]:
        line = first + (plain - first) * int(row["store_last"]) / depth
        distances.append(int(row["peak_bytes"]) / line - 1)
    return distances


def write(arguments, name, rows, plot):
    arguments.results.mkdir(parents=True, exist_ok=True)
    with open(arguments.results / f"{name}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (arguments.results / f"{name}.svg").write_text(plot.svg())


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="benchmark_step")
    parser.add_argument(
        "--results", type=pathlib.Path,
        default=pathlib.Path(__file__).resolve().parent / "results")
    parser.add_argument(
        "--depths", default=[2, 4, 8, 16, 24, 32],
        type=lambda text: [int(depth) for depth in text.split(",")])
    parser.add_argument("--depth", type=int, default=8,
                        help="of the stack that keeps activations")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=15)
    return parser.parse_args()


def main():
    arguments = parse()
    rows = measure_depths(arguments)
    write(arguments, "memory_over_depth", rows, plot_depths(arguments, rows))
    rows = measure_stored(arguments)
    write(arguments, "time_over_bytes", rows, plot_stored(arguments, rows))
    distances = distances_from_line(rows)
    print(f"\nPeak bytes, from the line between store_last = 0 and plain "
          f"autograd: {min(distances):+.1%} to {max(distances):+.1%}\n"
          f"Tables and plots: {arguments.results}")


if __name__ == "__main__":
    main()
