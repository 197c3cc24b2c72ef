"""A user's mistake is one sentence and exit status 2, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.dp_core.data.shard_files import encode, write_shard
from tests.search.conftest import Outcome
from tests.search.distillation.tiny_distillation import write_distillation
from tests.search.test_bad_input import refusal

Winnow = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(folder: Path, winnow: Winnow, *overrides: str) -> str:
    """Return the sentence, having seen that nothing was left behind."""
    sentence = refusal(winnow("distill", "tiny.yaml", *overrides))
    assert {path.name for path in folder.iterdir()} - {"images", "cache", "tiny.yaml"} == set()
    return sentence


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"distil": {}}, "unknown key 'distil'. Did you mean 'distill'?"),
        ({"distill": {"metod": "herding"}}, "unknown key 'distill.metod'. Did you mean 'method'?"),
        ({"distill": {"method": "herdin"}}, "(did you mean 'herding'?)"),
        ({"distill": {"settings": {"iteratons": 3}}}, "'distill.settings.iteratons'. Did you mean 'iterations'?"),
        ({"distill": {"settings": {"image_rate": -1.0}}}, "distribution_matching needs image_rate above 0, not -1.0."),
        ({"distill": {"settings": {"image_rate": float("inf")}}}, "image_rate at most 1e+30, not inf."),
        ({"distill": {"architectures": {"norm": "bach"}}}, "no norm 'bach'. Did you mean 'batch'?"),
        ({"distill": {"architectures": {"depth": [1, 9]}}}, "halves the image 9 times"),
        ({"distill": {"ipc": 17}}, "The class 'red' has 16 images, fewer than the 17 asked for."),
        ({"distill": {"ipc": [1, 17]}}, "The class 'red' has 16 images, fewer than the 17 asked for."),
        ({"distill": {"ipc": 0}}, "'distill.ipc"),
        ({"distill": {"ipc": [2, 2]}}, "must be one number or a list of different ones"),
        ({"distill": {"train_on": "test"}}, "'distill.train_on' must be"),
        ({"distill": {"minutes": 0}}, "'distill.minutes' must be a number > 0 or null, not 0."),
        ({"distill": {"minutes": 1}}, "'distill.minutes' and 'distill.settings.iterations' cannot both be given; "),
        (
            {"distill": {"minutes": 1, "method": "herding", "architectures": None, "settings": None}},
            "'distill.minutes' has no meaning for herding",
        ),
        ({"distill": {"checkpoint_every": 0}}, "'distill.checkpoint_every' must be an integer ≥ 1, not 0."),
        ({"data": {"root": "nowhere"}}, "There is no data folder nowhere"),
        ({"data": {"format": "parqet"}}, "The data format 'parqet' is unknown"),
        ({"run": {"name": "a/b"}}, "'run.name' is not valid: must be letters"),
    ],
)
def test_a_mistake_in_the_config(folder: Path, winnow: Winnow, changes: dict[str, Any], sentence: str) -> None:
    write_distillation(folder, **changes)
    assert sentence in refused(folder, winnow)


@pytest.mark.parametrize("name", ["tiny.yaml", "tiny.yaml/sets"])
def test_an_output_that_is_no_folder_is_refused_before_anything_is_made(
    folder: Path, winnow: Winnow, name: str
) -> None:
    write_distillation(folder, distill={"output": str(folder / name)})
    assert f"'distill.output': nothing can be kept in {folder / name}, as " in refused(folder, winnow)


def test_a_class_without_images(folder: Path, winnow: Winnow) -> None:
    draw = np.random.default_rng(0)
    for split, images in (("train", 20), ("test", 6)):
        drawn = [encode(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(images)]
        labels = [index % 2 for index in range(images)]
        write_shard(folder / "images" / f"{split}-0.parquet", drawn, labels, names=("red", "green", "blue"))
    write_distillation(folder)
    assert "'blue'" in refused(folder, winnow)


def test_a_name_that_is_taken(folder: Path, winnow: Winnow) -> None:
    write_distillation(folder)
    run = folder / "runs" / "tiny"
    run.mkdir(parents=True)
    (run / "run.yaml").write_text("config: {}\n")
    assert f"'winnow resume {run}'" in refusal(winnow("distill", "tiny.yaml"))
    assert [path.name for path in run.iterdir()] == ["run.yaml"]


def test_data_that_changed(folder: Path, winnow: Winnow) -> None:
    write_distillation(folder)
    assert winnow("distill", "tiny.yaml").status == 0
    draw = np.random.default_rng(9)
    drawn = [encode(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(15)]
    write_shard(folder / "images" / "test-00000-of-00001.parquet", drawn, [i % 3 for i in range(15)],
                names=("red", "green", "blue"))  # fmt: skip
    assert "have changed since it started" in refusal(winnow("resume", "tiny"))


def test_a_run_of_another_kind_is_not_taken_for_one(folder: Path, winnow: Winnow) -> None:
    write_distillation(folder)
    assert winnow("distill", "tiny.yaml").status == 0
    path = folder / "runs" / "tiny" / "run.yaml"
    path.write_text(path.read_text().replace("kind: distillation", "kind: distilation"))
    assert "no kind of run 'distilation'. Did you mean 'distillation'?" in refusal(winnow("resume", "tiny"))
