"""Runs that chaos is let loose on: a tiny search by the program `winnow`, with networks that do as they are told."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.search.processes import Program
from tests.search.tiny import write_config

# What a network does wrong, it does while a trial trains it: the driver, too, builds networks and rehearses a step of
# some, before there is a Ray. Every pass of a training leaves a byte behind, so that work that was done twice can be
# counted. Trainings wait while there is a file `hold`, so that what is to happen during one does, however slow the
# machine.
NETWORKS = """
import os
import re
import time

import ray
import torch
from torch import nn

def pause():
    time.sleep(float(os.environ.get("WINNOW_TEST_PAUSE", "0")))
    while os.path.exists(os.environ.get("WINNOW_TEST_HOLD", "")):
        time.sleep(0.02)

def count():
    if "WINNOW_TEST_PASSES" in os.environ:
        file = os.open(os.environ["WINNOW_TEST_PASSES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, b".")
        os.close(file)

def raises(images):
    raise RuntimeError("this network does not like its images")

def out_of_memory(images):
    raise torch.OutOfMemoryError("CUDA out of memory: there is none at all")

def out_of_memory_at_a_full_batch(images):
    if len(images) > 8:
        raise MemoryError("so many images do not fit")

def sleeps(images):
    time.sleep(3600)

def holds_the_interpreter(images):
    re.match("(a+)+$", "a" * 64 + "b")  # takes 2^64 steps inside C, none of which lets another thread run

DEEDS = {
    function.__name__: function
    for function in (raises, out_of_memory, out_of_memory_at_a_full_batch, sleeps, holds_the_interpreter)
}

class Network(nn.Sequential):
    deed = "none"

    def forward(self, images):
        if not ray.is_initialized():
            return super().forward(images)
        if self.training:
            pause()
            count()
            if self.deed in DEEDS:
                DEEDS[self.deed](images)
        return super().forward(images) * (float("inf") if self.deed == "overflows" else 1.0)

def network(input_shape, classes, *, width=4, deed="none", label=0.0):
    channels, height, width_of_image = input_shape
    found = Network(
        nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(width * (height // 2) * (width_of_image // 2), classes),
    )
    found.deed = deed
    return found
"""

# Three pruning rounds of four steps. Every third trial fails. What is sampled, the label, changes nothing: a trial's
# results follow from its number alone, and so those of any run can be held against those of an undisturbed one.
STEPS, ROUNDS = 4, 3
SETTINGS: dict[str, Any] = {
    "space": {
        "model": {
            "name": "my_models:network",
            "width": 4,
            "label": {"float": [0.0, 1.0]},
            "deed": {"choice": ["overflows"], "when": {"source": "subset"}},
            **dict.fromkeys(("depth", "norm", "pooling")),
        },
        "sparsity": 0.75,
        "source": {"choice": ["distilled", "real", "subset"]},
        "ipc": {"when": {"source": ["distilled", "subset"]}},
        "recipe": {"steps": STEPS, "precision": "float32"},
    },
    "search": {"early_stopping": {"method": "none"}},
    "resources": {"concurrency": 2},
    "promote": {"top": 2, "audit": 1},
    "retrain": {"epochs": 2, "recipe": {"precision": "float32"}},
}


@dataclass(frozen=True)
class Told:
    """What a command said, its exit status, and how long it took."""

    status: int
    output: str
    seconds: float

    @property
    def sentence(self) -> str:
        """The one sentence of a command that gave up."""
        assert self.status == 2, self.output
        assert "Traceback (most" not in self.output, self.output
        lines = [line for line in self.output.splitlines() if line.startswith("winnow: ")]
        assert len(lines) == 1, self.output
        return lines[0].removeprefix("winnow: ")

    def naming(self, name: str) -> list[str]:
        """Return the lines that have this name in them."""
        return [line for line in self.output.splitlines() if name in line]


@dataclass
class Arena:
    """A folder with images, networks and a config; all programs that were started in it end when it is left."""

    folder: Path
    programs: list[Program] = field(default_factory=list)

    @property
    def run(self) -> Path:
        """The directory of the run."""
        return self.folder / "runs" / "tiny"

    @property
    def hold(self) -> Path:
        """A file that makes trainings wait as long as it is there."""
        return self.folder / "hold"

    @property
    def passes(self) -> int:
        """Forward passes of trainings so far."""
        file = self.folder / "passes"
        return file.stat().st_size if file.exists() else 0

    def start(self, *arguments: str, pause: float = 0.0) -> Program:
        """Start `winnow` with these arguments; its networks take `pause` seconds for every pass of a training."""
        settings = {
            "WINNOW_TEST_PAUSE": str(pause),
            "WINNOW_TEST_PASSES": str(self.folder / "passes"),
            "WINNOW_TEST_HOLD": str(self.hold),
        }
        self.programs.append(Program("winnow", list(arguments), self.folder, settings))
        return self.programs[-1]

    def winnow(self, *arguments: str, pause: float = 0.0, seconds: float = 300) -> Told:
        """Run `winnow` with these arguments to its end."""
        began = time.monotonic()
        program = self.start(*arguments, pause=pause)
        status = program.process.wait(seconds)
        return Told(status, program.output, time.monotonic() - began)

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *failure: object) -> None:
        for program in self.programs:
            program.end()


def told_by(program: Program, seconds: float = 120) -> Told:
    """Wait for a program that was started before."""
    began = time.monotonic()
    return Told(program.process.wait(seconds), program.output, time.monotonic() - began)


def prepared(folder: Path, settings: Mapping[str, Any] = SETTINGS) -> Arena:
    """Write images, networks and the config into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, **settings)
    (folder / "my_models.py").write_text(NETWORKS)
    return Arena(folder)


def copied(arena: Arena, folder: Path) -> Arena:
    """Copy a run that nobody drives, so that it can be damaged; images and sets are those of the original."""
    folder.mkdir(parents=True)
    for name in ("my_models.py", "tiny.yaml"):
        shutil.copy2(arena.folder / name, folder / name)
    shutil.copytree(arena.run, folder / "runs" / "tiny")
    return Arena(folder)
