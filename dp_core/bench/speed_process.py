"""Measuring in a process of its own: its peak memory is its own, and nobody else has set up its allocator."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import asdict

import torch

from dp_core.bench.speed import Speed, measure
from dp_core.bench.workload import Unavailable, Workload
from dp_core.device import default_device
from dp_core.errors import UserError


class MeasuringFailed(Exception):
    """The process that measured ended before it was done; one sentence without the full stop."""


def measure_in_process(workload: Workload) -> Speed:
    """Measure `workload` on this machine's GPU, or its CPU, in a process of its own.

    Raises:
        Unavailable: the mode cannot be had.
        UserError: the network cannot be built, or does not fit the device's memory.
        MeasuringFailed: anything else; it says how the process ended.
    """
    command = [sys.executable, "-m", __name__, json.dumps(workload.to_dict())]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise MeasuringFailed(_how_it_ended(done))
    found = json.loads(done.stdout.splitlines()[-1])
    if "mistake" in found:
        raise UserError(found["mistake"])
    if "unavailable" in found:
        raise Unavailable(found["unavailable"])
    return Speed(**found["speed"])


def _how_it_ended(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        hint = ", as it is when memory runs out" if name == "SIGKILL" else ""
        return f"the measuring process was ended by {name}{hint}"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return f"the measuring process failed: {lines[-1] if lines else f'exit status {done.returncode}'}"


def main() -> None:
    """Measure the workload in the first argument (JSON) and print the outcome as the last line of JSON."""
    try:
        with redirect_stdout(sys.stderr):
            workload = Workload.from_dict(json.loads(sys.argv[1]))
            if workload.threads is not None:
                torch.set_num_threads(workload.threads)
            outcome: dict[str, object] = {"speed": asdict(measure(workload, default_device()))}
    except UserError as error:
        outcome = {"mistake": str(error)}
    except Unavailable as error:
        outcome = {"unavailable": str(error)}
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
