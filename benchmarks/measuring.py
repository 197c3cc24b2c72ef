"""What the timing scripts share: facts about the machine, arms that take turns, arms in processes of their own."""

from __future__ import annotations

import argparse
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from dp_core.errors import UserError
from dp_core.files import write_json
from search.runs.machine import usable_cpus

P = ParamSpec("P")
T = TypeVar("T")

RESULTS = Path("benchmarks/results")


def alone(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function of a module in a new process and return what it returns.

    The process has imported modules and done nothing else, so that what the engine sets for a whole process (how the C
    library keeps memory) and memory that others have used are no part of what it measures.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def interleaved(arms: Mapping[str, Callable[[], T]], repetitions: int) -> dict[str, list[T]]:
    """Measure A B C A B C …, so that a machine that becomes slower does so for all; return each arm's repetitions."""
    found: dict[str, list[T]] = {name: [] for name in arms}
    for repetition in range(repetitions):
        for name, measure in arms.items():
            print(f"repetition {repetition + 1} of {repetitions}: {name}", file=sys.stderr, flush=True)
            found[name].append(measure())
    return found


def ratios(slow: Sequence[float], fast: Sequence[float]) -> dict[str, Any]:
    """Return how often `fast` goes into `slow`: the ratio of the medians, and that of every repetition."""
    pairs = [one / other for one, other in zip(slow, fast, strict=True)]
    return {"of_medians": statistics.median(slow) / statistics.median(fast), "of_repetitions": pairs}


def seconds_of(function: Callable[[], object], device: torch.device) -> float:
    """Return how long a call takes until the device is done with it."""
    wait_for(device)
    started = time.perf_counter()
    function()
    wait_for(device)
    return time.perf_counter() - started


def wait_for(device: torch.device) -> None:
    """Wait until all work on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def parser_of(description: str | None, name: str) -> argparse.ArgumentParser:
    """Return a parser of a script called `name`, with the option --output."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULTS / f"{name}.json")
    return parser


def timing_parser_of(description: str | None, name: str) -> argparse.ArgumentParser:
    """Return such a parser with the options of timings, --repetitions and --device."""
    parser = parser_of(description, name)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    return parser


def provenance(script: str, device: torch.device, argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the command (without the names of this machine's folders), the machine and the versions."""
    words = sys.argv[1:] if argv is None else argv
    return {
        "command": shlex.join(["python", "-m", f"benchmarks.{script}", *map(_without_folders, words)]),
        "machine": {
            "cpu": next(_cpu_names(), platform.processor() or platform.machine()),
            "cores": usable_cpus(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def write_report(output: Path, report: Mapping[str, Any]) -> None:
    """Write a report where it was asked for, and say where."""
    write_json(output, report)
    print(output)


def as_a_program(main: Callable[[], None]) -> None:
    """Run a script; what the user did wrong is told in a sentence."""
    try:
        main()
    except UserError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")


def _without_folders(word: str) -> str:
    option, equals, value = word.rpartition("=")
    return f"{option}{equals}PATH" if value.startswith(("/", "~", "..")) else word


def _cpu_names() -> Iterator[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("model name"):
            yield line.partition(":")[2].strip()
