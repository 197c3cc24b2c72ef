"""`winnow bench engine`: what it refuses, what it prints and what a program reads of it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dp_core.bench.speed import Speed
from dp_core.bench.speed_process import MeasuringFailed
from dp_core.bench.workload import Unavailable, Workload
from dp_core.models import ModelSpec
from search.cli import engine_bench
from search.cli.engine_bench import engine_tables, workloads
from search.config.model_spec import model_spec
from search.runs.machine import usable_cpus
from tests.search.conftest import Outcome
from tests.search.json_shape import rows_of

Winnow = Callable[..., Outcome]

MIXED = {"rate": 0.5, "deep": True, "name": "a=b"}
CONTRACT = ("model", "mode", "images_per_second", "steps_per_second", "peak_memory_bytes", "flops_per_second")


def speed_of(workload: Workload) -> Speed:
    """Return made-up figures: `fused` is four times as fast as every other mode."""
    values: dict[str, Any] = dict.fromkeys((field.name for field in fields(Speed)), 0.2)
    rate = 2000.0 if workload.mode == "fused" else 500.0
    texts = {"augmentation": "none", "optimizer": "sgd", "network": workload.mode, "device": "cpu"}
    figures = {"images_per_second": rate, "peak_memory_bytes": 2**29, "bfloat16": False, "threads": 2, "batch_size": 64}
    return Speed(**values | texts | figures | {"model": workload.model.label(), "mode": workload.mode})


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Workload]:
    """Measure nothing, and return what was to be measured."""
    seen: list[Workload] = []

    def measure(workload: Workload) -> Speed:
        seen.append(workload)
        if workload.mode == "compiled":
            raise Unavailable("torch.compile fails: no compiler")
        if workload.mode == "eager":
            raise MeasuringFailed("the measuring process failed: ValueError: bad")
        return speed_of(workload)

    monkeypatch.setattr(engine_bench, "measure_in_process", measure)
    return seen


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("alexnet", ModelSpec("alexnet")),
        ("convnet:width=64,norm=batch", ModelSpec("convnet", {"width": 64, "norm": "batch"})),
        ("mine.nets:build", ModelSpec("mine.nets:build")),
        ("mine.nets:build:rate=0.5,deep=true,name=a=b", ModelSpec("mine.nets:build", MIXED)),
    ],
)  # fmt: skip
def test_a_model_on_the_command_line(text: str, spec: ModelSpec) -> None:
    assert model_spec(text) == spec


def test_by_default_two_models_in_every_mode_worth_comparing(winnow: Winnow, measured: list[Workload]) -> None:
    outcome = winnow("bench", "engine", "--json")
    models = [workload.model.name for workload in measured]
    modes = [workload.mode for workload in measured]
    count = len(measured) // 2
    assert models == ["convnet"] * count + ["alexnet"] * count
    assert modes[:count] == modes[count:]
    assert {"usual", "eager", "compiled"} < set(modes)
    first = measured[0]
    assert (first.batch_size, first.images, first.repetitions) == (256, 2048, 5)
    assert first.threads == usable_cpus()
    assert outcome.status == 1  # two failed
    assert len(rows_of(outcome.out)) == 2 * count


def test_options_reach_the_measurement(winnow: Winnow, measured: list[Workload]) -> None:
    numbers = ("--batch-size", 8, "--images", 32, "--threads", 1, "--repetitions", 7)
    words = ("--augmentation", "siamese", "--optimizer", "adamw")
    assert winnow("bench", "engine", "--model", "convnet:width=4", "--mode", "auto", *numbers, *words).status == 0
    spec = ModelSpec("convnet", {"width": 4})
    assert measured == [Workload(spec, "auto", 8, 32, "siamese", "adamw", repetitions=7, threads=1)]


def test_rows_say_what_was_measured_and_why_not(winnow: Winnow, measured: list[Workload]) -> None:
    modes = [word for mode in ("usual", "compiled", "eager") for word in ("--mode", mode)]
    outcome = winnow("bench", "engine", "--model", "alexnet", *modes, "--json")
    usual, compiled, eager = rows_of(outcome.out)
    assert usual.keys() == compiled.keys() == eager.keys() >= set(CONTRACT)
    assert (usual["images_per_second"], usual["reason"], usual["failed"]) == (500, None, False)
    assert (compiled["model"], compiled["mode"], compiled["images_per_second"]) == ("alexnet", "compiled", None)
    assert (compiled["reason"], compiled["failed"]) == ("torch.compile fails: no compiler", False)
    assert (eager["reason"], eager["failed"]) == ("the measuring process failed: ValueError: bad", True)
    assert outcome.status == 1
    assert winnow("bench", "engine", "--model", "alexnet", *modes[:4], "--json").status == 0


def test_the_table_compares_with_usual(winnow: Winnow, measured: list[Workload]) -> None:
    modes = [word for mode in ("usual", "fused", "compiled") for word in ("--mode", mode)]
    outcome = winnow("bench", "engine", "--model", "alexnet", *modes)
    lines = outcome.out.splitlines()
    assert lines[1].strip() == "alexnet"
    (fused,) = (line.split() for line in lines if line.startswith("fused"))
    # mode, format, images/s, steps/s, × usual, five shares, GiB, GFLOP/s, ceiling, % of it
    assert fused == ["fused", "fp32", "2,000", "0.20", "4.00", *["20.0"] * 5, "0.50", "0", "0", "20"]
    assert "alexnet, compiled: torch.compile fails: no compiler." in lines
    assert "64 images a step" in outcome.out


def test_nothing_of_a_table_is_cut_in_a_hundred_columns() -> None:
    large = {"images_per_second": 99_999.0, "steps_per_second": 399.99, "flops_per_second": 99_999e9}
    rows: list[dict[str, Any]] = []
    for mode in ("usual", "auto", "compiled"):
        speed = speed_of(Workload(ModelSpec("alexnet"), mode))
        rows.append({field.name: getattr(speed, field.name) for field in fields(Speed)})
        rows[-1] |= {**large, "ceiling_flops_per_second": 99_999e9, "reason": None, "network": "fused"}
    console = Console(width=100)
    with console.capture() as shown:
        console.print(engine_tables(rows))
    text = shown.get()
    assert "…" not in text
    assert "auto (fused)" in text


def test_without_usual_there_is_nothing_to_compare_with(winnow: Winnow, measured: list[Workload]) -> None:
    outcome = winnow("bench", "engine", "--model", "alexnet", "--mode", "fused")
    assert " - " in next(line for line in outcome.out.splitlines() if line.startswith("fused"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--mode", "fusd"), "There is no mode 'fusd'. Did you mean 'fused'?"),
        (("--model", "convnett"), "There is no architecture 'convnett'. Did you mean 'convnet'?"),
        (("--model", "convnet:widht=4"), "has no hyperparameter 'widht'. Did you mean 'width'?"),
        (("--model", "convnet:norm=bach"), "convnet has no norm 'bach'. Did you mean 'batch'?"),
        (("--model", "convnet:width"), "The model 'convnet:width' has 'width' where a hyperparameter belongs"),
        (("--model", "convnet:width=[4"), "The model 'convnet:width=[4' has a value that cannot be read: '[4'."),
        (("--augmentation", "flipcrop"), "Did you mean 'flip_crop'?"),
        (("--optimizer", "sdg"), "Did you mean 'sgd'?"),
        (("--images", 0), "A benchmark needs images of at least 1, not 0."),
        (("--threads", 0), "A benchmark needs threads of at least 1, not 0."),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_measured(
    winnow: Winnow, measured: list[Workload], arguments: tuple[object, ...], sentence: str
) -> None:
    outcome = winnow("bench", "engine", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert len(outcome.err.splitlines()) == 1
    assert sentence in outcome.err
    assert measured == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_a_traceback(
    number: signal.Signals, winnow: Winnow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(workload: Workload) -> Speed:
        signal.raise_signal(number)
        raise AssertionError("nothing was interrupted")

    # Where the tests run in the background of a script, SIGINT is ignored.
    inherited = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        before = signal.getsignal(number)
        monkeypatch.setattr(engine_bench, "measure_in_process", interrupted)
        outcome = winnow("bench", "engine", "--model", "alexnet", "--mode", "usual")
        assert (outcome.status, outcome.out, outcome.err) == (130, "", "\nStopped.\n")
        assert signal.getsignal(number) == before
    finally:
        signal.signal(signal.SIGINT, inherited)


def test_every_model_is_paired_with_every_mode() -> None:
    found = workloads(["alexnet", "convnet:width=4"], ["usual", "auto"], {"images": 5})
    assert [(workload.model.name, workload.mode, workload.images) for workload in found] == [
        ("alexnet", "usual", 5), ("alexnet", "auto", 5), ("convnet", "usual", 5), ("convnet", "auto", 5),
    ]  # fmt: skip


BROKEN = """
from torch import nn

class Broken(nn.Linear):
    def forward(self, images):
        raise ValueError("this network does not run")

def network(shape, classes):
    return Broken(3, 3)
"""


def test_a_network_is_measured_for_real_and_one_that_fails_does_not_stop_it(
    winnow: Winnow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_bench.py").write_text(BROKEN)
    models = ("--model", "broken_bench:network", "--model", "convnet:depth=1,width=4")
    size = ("--batch-size", 8, "--images", 16, "--threads", 1, "--repetitions", 1)
    outcome = winnow("bench", "engine", *models, "--mode", "usual", *size, "--json")
    broken, good = rows_of(outcome.out)
    assert outcome.status == 1
    assert broken["reason"] == "the measuring process failed: ValueError: this network does not run"
    assert (good["model"], good["mode"], good["reason"]) == ("convnet depth=1 width=4", "usual", None)
    assert all(good[key] > 0 for key in CONTRACT[2:])
    assert (good["threads"], good["bfloat16"]) == (1, False)
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["broken_bench.py"]
