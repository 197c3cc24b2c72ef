"""What a measurement says, without asking how fast this machine is."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dp_core.bench import speed_process
from dp_core.bench.shares import shares_of_epoch
from dp_core.bench.speed import Speed, measure
from dp_core.bench.speed_process import MeasuringFailed, measure_in_process
from dp_core.bench.workload import Unavailable, Workload, _Never, open_loop
from dp_core.errors import UserError
from dp_core.models import ModelSpec
from dp_core.training import Training
from tests.dp_core.small import same

CPU = torch.device("cpu")
SPEC = ModelSpec("convnet", {"depth": 1, "width": 4})
TINY = Workload(SPEC, "usual", batch_size=4, images=10, repetitions=1, shortest=0)
SPEED = Speed("alexnet", "usual", *range(len(fields(Speed)) - 2))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiply no large matrices."""
    monkeypatch.setattr("dp_core.bench.speed.flops_of_matmul", lambda *_, **__: 1e9)


@pytest.mark.parametrize("mode", ["usual", "eager", "auto"])
def test_a_measurement_fits_together(mode: str) -> None:
    workload = replace(TINY, mode=mode, augmentation="flip_crop", optimizer="adamw")
    speed = measure(workload, CPU)
    found = asdict(speed)
    assert (speed.model, speed.mode) == ("convnet depth=1 width=4", mode)
    assert (speed.batch_size, speed.images, speed.repetitions) == (4, 10, 1)
    assert (speed.device, speed.threads) == ("cpu", torch.get_num_threads())
    assert speed.images_per_second == pytest.approx(4 * speed.steps_per_second)
    assert speed.flops_per_second == pytest.approx(speed.flops_per_step * speed.steps_per_second)
    assert speed.share_of_ceiling == pytest.approx(speed.flops_per_second / speed.ceiling_flops_per_second)
    # Convolution forward and weight gradient, linear layer forward and both gradients.
    assert speed.flops_per_step == 2 * 4 * (2 * 32 * 32 * 3 * 4 * 9 + 3 * 16 * 16 * 4 * 10)
    shares = [value for name, value in found.items() if name.startswith("share_") and name != "share_of_ceiling"]
    assert len(shares) == 5
    assert min(shares) > 0
    assert sum(shares) == pytest.approx(1)
    positive = [value for value in found.values() if isinstance(value, int | float) and not isinstance(value, bool)]
    assert all(value > 0 for value in positive if value is not found["spread"])
    if mode == "usual":
        assert (speed.network, speed.bfloat16) == ("usual", False)


class Clock:
    """Stands for `now`: a second goes by each time it is looked at."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self, device: torch.device) -> float:
        self.time += 1
        return self.time


def test_an_epoch_is_a_pass_of_training_and_an_evaluation_of_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dp_core.bench.shares.now", Clock())
    monkeypatch.setattr("dp_core.bench.shares.seconds_each", lambda *_, **__: [50.0, 60.0, 100.0])
    data = TINY.data(CPU)
    loop = open_loop(TINY, data, steps=1)
    shares = shares_of_epoch(loop, data, 4, steps=2, repetitions=3)
    # 10 images in batches of 4 are 2.5 steps; each part of a step takes one second; evaluating 10 images takes 60.
    seconds = dict.fromkeys(("data", "forward", "backward", "optimizer"), 2.5) | {"evaluation": 6.0}
    assert shares == pytest.approx({part: value / 16 for part, value in seconds.items()})
    assert loop.step == 1 + 3  # one that warms up, one that does not count, two


def test_steps_that_are_timed_part_by_part_are_steps_of_the_training() -> None:
    data = TINY.data(CPU)
    trainings = [open_loop(replace(TINY, mode="eager"), data, steps=1) for _ in range(2)]
    trainings[0].run(3)
    shares_of_epoch(trainings[1], data, 4, steps=2, repetitions=1)
    first, second = (dict(training.model.state_dict()) for training in trainings)
    assert same(first, second)


def test_a_batch_is_no_larger_than_the_data() -> None:
    assert measure(replace(TINY, batch_size=64, images=3), CPU).batch_size == 3


def test_steps_that_are_not_to_be_recorded_are_the_same_steps() -> None:
    workload, states = replace(TINY, mode="eager"), []
    for recorder in (None, _Never()):
        model, data = workload.network(CPU), workload.data(CPU)
        training = Training(model, data, workload.recipe(), seed=0, mask=None, recorder=recorder)
        training.run(6)
        states.append(dict(model.state_dict()))
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is so without a GPU")
def test_graphs_need_a_gpu() -> None:
    with pytest.raises(Unavailable, match=r"^CUDA graphs need a GPU$"):
        measure(replace(TINY, mode="graph"), CPU)


def test_fused_needs_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dp_core.kernels.fusing.block_library", lambda: None)
    with pytest.raises(Unavailable, match="no blocks that can be fused"):
        measure(replace(TINY, mode="fused"), CPU)


def test_compiled_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    class Uncompiled(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("backend='inductor' raised:\nInvalidCxxCompiler: none found.\n\nSet TORCH_LOGS for more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: Uncompiled())
    with pytest.raises(Unavailable) as caught:
        measure(replace(TINY, mode="compiled"), CPU)
    assert str(caught.value) == "torch.compile fails: backend='inductor' raised InvalidCxxCompiler: none found"
    monkeypatch.setenv("WINNOW_COMPILE", "0")
    with pytest.raises(Unavailable, match=r"^WINNOW_COMPILE=0 turns compiling off$"):
        measure(replace(TINY, mode="compiled"), CPU)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mode": "fusd"}, "There is no mode 'fusd'. Did you mean 'fused'?"),
        ({"images": 0}, "A benchmark needs images of at least 1, not 0."),
        ({"repetitions": 0}, "A benchmark needs repetitions of at least 1, not 0."),
        ({"threads": 10**6}, "A benchmark cannot use 1000000 threads on a machine that has "),
        ({"threads": -1}, "A benchmark needs threads of at least 1, not -1."),
        ({"batch_size": 0}, "batch_size of at least 1, not 0."),
        ({"augmentation": "flipcrop"}, "Did you mean 'flip_crop'?"),
        ({"optimizer": "sdg"}, "Did you mean 'sgd'?"),
    ],
)
def test_a_mistake_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        replace(TINY, **changes)
    assert sentence in str(caught.value)


def test_a_workload_goes_through_json() -> None:
    workload = replace(TINY, threads=1)
    assert Workload.from_dict(json.loads(json.dumps(workload.to_dict()))) == workload


def outcome_of(workload: Workload, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return the last line that the measuring process would print."""
    monkeypatch.setattr(sys, "argv", ["speed_process", json.dumps(workload.to_dict())])
    speed_process.main()
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize(
    ("model", "mode", "key", "text"),
    [
        (ModelSpec("convnett"), "usual", "mistake", "Did you mean 'convnet'?"),
        pytest.param(
            SPEC, "graph", "unavailable", "need a GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="says what is so without a GPU"),
        ),
    ],
)  # fmt: skip
def test_the_measuring_process_says_why_it_cannot(
    model: ModelSpec,
    mode: str,
    key: str,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert text in outcome_of(replace(TINY, model=model, mode=mode), monkeypatch, capsys)[key]


def ended(monkeypatch: pytest.MonkeyPatch, status: int, out: str = "", err: str = "") -> None:
    """Let the measuring process end like this."""
    done = subprocess.CompletedProcess([], status, out, err)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)


def test_what_the_process_found_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ended(monkeypatch, 0, "a library says hello\n" + json.dumps({"speed": asdict(SPEED)}))
    assert measure_in_process(TINY) == SPEED
    ended(monkeypatch, 0, json.dumps({"mistake": "There is no such model."}))
    with pytest.raises(UserError, match=r"^There is no such model\.$"):
        measure_in_process(TINY)
    ended(monkeypatch, 0, json.dumps({"unavailable": "no compiler"}))
    with pytest.raises(Unavailable, match=r"^no compiler$"):
        measure_in_process(TINY)


@pytest.mark.parametrize(
    ("status", "err", "sentence"),
    [
        (1, "Traceback …\n  File …\nValueError: bad\n", "the measuring process failed: ValueError: bad"),
        (3, "", "the measuring process failed: exit status 3"),
        (-9, "", "the measuring process was ended by SIGKILL, as it is when memory runs out"),
        (-11, "half a line", "the measuring process was ended by SIGSEGV"),
    ],
)
def test_a_process_that_fails_is_one_sentence(
    status: int, err: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(monkeypatch, status, err=err)
    with pytest.raises(MeasuringFailed) as caught:
        measure_in_process(TINY)
    assert str(caught.value) == sentence
