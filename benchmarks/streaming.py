"""What does streaming cost in speed, and what does it save in memory? Batches alone, without any training.

    python benchmarks/streaming.py assets/cifar10-mini --json streaming.json

Three ways to the same training images, each measured in processes of its own that take turns:

    memory      all images in memory, as a trial has them whose device they fit on
    mapped      streamed from the mapped file of decoded images (the data cache)
    parquet     streamed from the Parquet shards, decoded on the way

A process takes a few batches, then times those of one pass. `base` is the memory it has resident before it opens the
data, mostly PyTorch; `peak` the most it ever has, files that are mapped included; `own` how much its memory grows at
most between two batches without those (the system takes mapped pages back when it needs them). Linux only.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import torch
from rich.console import Console
from rich.table import Table

from dp_core.data import ImageDataset, open_train_test
from dp_core.data.preprocessing import Standardisation
from dp_core.data.shards import find_shards
from dp_core.data.streaming import MappedBlocks, ParquetBlocks
from dp_core.errors import UserError
from dp_core.files import write_json
from dp_core.training import DataSource, StreamedData, TrainingData
from search.runs.machine import usable_cpus

WAYS = ("memory", "mapped", "parquet")
WARM_UP = 5  # batches


def main() -> None:
    """Measure every way in turn, or, called by itself, one way once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of Parquet shards")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--window", type=int, default=8192, help="images that are shuffled together")
    parser.add_argument("--block", type=int, default=256, help="images of a mapped block")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch's, beside the one that reads ahead")
    parser.add_argument("--cache", type=Path, default=Path(".cache/winnow"))
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measure(arguments)))
        return
    train, _ = open_train_test("parquet", arguments.data, cache=arguments.cache)
    rounds = [{way: measured_elsewhere(way) for way in WAYS} for _ in range(arguments.repeats)]
    rows = [summary(way, [each[way] for each in rounds]) for way in WAYS]
    show(rows)
    if arguments.json:
        write_json(arguments.json, {**provenance(arguments), "images": images_of(train), "rows": rows})


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Go through the data one way, in this process."""
    torch.set_num_threads(arguments.threads)
    base, own_before = status_bytes("VmRSS"), status_bytes("RssAnon")
    data = opened(arguments)
    batches = data.batches(arguments.batch, 0, torch.device("cpu"))
    steps = -(-len(data) // arguments.batch)
    own = 0
    for step in range(WARM_UP):
        batches(step)
    started = time.perf_counter()
    for step in range(WARM_UP, WARM_UP + steps):
        batches(step)
        own = max(own, status_bytes("RssAnon"))
    seconds = time.perf_counter() - started
    found: dict[str, Any] = {
        "images_per_second": steps * arguments.batch / seconds,
        "base_bytes": base,
        "peak_bytes": status_bytes("VmHWM"),
        "own_bytes": own - own_before,
    }
    if isinstance(data, StreamedData):
        found["stream_bound_bytes"] = data.memory_bound(arguments.batch)
    return found


def opened(arguments: argparse.Namespace) -> DataSource:
    """Return the training images as the way has them."""
    space = Standardisation((0.5,) * 3, (0.25,) * 3)
    if arguments.way == "parquet":
        shards, _ = find_shards(arguments.data)
        return StreamedData(ParquetBlocks(shards), space, arguments.window)
    train, _ = open_train_test("parquet", arguments.data, cache=arguments.cache)
    if arguments.way == "mapped":
        return StreamedData(MappedBlocks(train, arguments.block), space, arguments.window)
    return TrainingData(train.images.clone(), train.labels, space)


def status_bytes(field: str) -> int:
    """Return a size that Linux tells of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise UserError(f"This system does not tell {field}.")


def measured_elsewhere(way: str) -> dict[str, Any]:
    """Measure once in a new process, whose memory has seen nothing else."""
    command = [sys.executable, *sys.argv, "--way", way]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def summary(way: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure, and every speed."""
    medians = {key: statistics.median(each[key] for each in found) for key in found[0]}
    return {"way": way, **medians, "all_images_per_second": [each["images_per_second"] for each in found]}


def provenance(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the figures were measured with, and on what."""
    options = " ".join(f"--{name} {getattr(arguments, name)}" for name in ("repeats", "batch", "window", "block"))
    return {
        "command": f"python benchmarks/streaming.py PATH {options} --threads {arguments.threads} --json PATH",
        "cpu": next(cpu_names(), platform.processor()),
        "cores": usable_cpus(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "pyarrow": pyarrow.__version__},
    }


def cpu_names() -> Iterator[str]:
    """Yield the name of every core."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            yield line.partition(":")[2].strip()


def images_of(dataset: ImageDataset) -> dict[str, Any]:
    """Return how many images were gone through, and of what size."""
    return {"count": len(dataset), "shape": list(dataset.image_shape), "bytes": dataset.images.numel()}


def show(rows: list[dict[str, Any]]) -> None:
    """Print the medians."""
    table = Table("way", "images/s", "base MiB", "peak MiB", "own MiB", "bound of the stream MiB")
    for row in rows:
        sizes = [row.get(f"{name}_bytes") for name in ("base", "peak", "own", "stream_bound")]
        table.add_row(
            row["way"],
            f"{row['images_per_second']:,.0f}",
            *["–" if size is None else f"{size / 2**20:.0f}" for size in sizes],
        )
    Console().print(table)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"streaming.py: {error}")
