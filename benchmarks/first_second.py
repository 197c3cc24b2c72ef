"""How many processor seconds the commands take that should answer at once: help, status, a config that is refused.

    python -m benchmarks.first_second RUN...

Writes benchmarks/results/first_second.json: processor seconds, of user and system, of every repetition and their
median. `status` is measured of the runs that are named, best one of each kind that was stopped in the middle; a run of
an earlier version says how far it is in seconds rather than at once until it has been resumed.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks.measuring import as_a_program, interleaved, parser_of, provenance, write_report
from dp_core.errors import UserError
from search.runs.directory import find_run
from search.runs.record import kind_of, read_run

WINNOW = Path(sys.executable).with_name("winnow")

REFUSED = {
    "search, unknown key": ("search", "configs/quickstart.yaml", "search.trails=3"),
    "search, criterion that there is not": ("search", "configs/quickstart.yaml", "screen.criterion=magnitud"),
    "search, no data": ("search", "configs/quickstart.yaml", "data.root=nowhere"),
    "prune, unknown key": ("prune", "configs/prune/mini.yaml", "sparsitys=[0.5]"),
    "prune, value out of range": ("prune", "configs/prune/mini.yaml", "prune_fraction=2"),
    "proxy-eval, unknown key": ("proxy-eval", "configs/proxy/mini.yaml", "proxys={}"),
    "proxy-eval, proxy that there is not": ("proxy-eval", "configs/proxy/mini.yaml", "proxies={nwto: {}}"),
    "distill, unknown key": ("distill", "configs/distill/mini.yaml", "distil.ipc=3"),
    "distill, distiller that there is not": ("distill", "configs/distill/mini.yaml", "distill.method=herdin"),
    "distill, no such file": ("distill", "configs/distill/min.yaml"),
}


def main() -> None:
    """Measure the commands in turns and write the report."""
    parser = parser_of(__doc__, "first_second")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="path or name of a run whose status is asked for")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    arms = {"--help": partial(processor_seconds, ("--help",), 0)}
    for name in arguments.runs:
        run = find_run(name)
        arms[f"status of the kind {kind_of(read_run(run))}"] = partial(processor_seconds, ("status", str(run.path)), 0)
    arms |= {name: partial(processor_seconds, command, 2) for name, command in REFUSED.items()}
    found = interleaved(arms, arguments.repetitions)
    rows = [
        {"command": name, "median": round(statistics.median(taken), 2), "processor_seconds": taken}
        for name, taken in found.items()
    ]
    write_report(arguments.output, {**provenance("first_second", torch.device("cpu")), "rows": rows})


def processor_seconds(command: Sequence[str], status: int) -> float:
    """Return the processor seconds, user and system, that `winnow` takes for a command that ends with `status`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run([WINNOW, *command], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode != status:
        raise UserError(f"'winnow {' '.join(command)}' ended with {ended.returncode}: {ended.stderr.strip()}")
    return round(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, 3)


if __name__ == "__main__":
    as_a_program(main)
