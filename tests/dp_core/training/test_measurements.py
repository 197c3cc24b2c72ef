from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from dp_core.kernels import block_library, cache_folder
from dp_core.training.measurements import Measurement, key_of, load, save
from tests.dp_core.small import small_model

seconds = st.floats(0, 1e6, allow_nan=False)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block_library()  # from the usual cache, once a process
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path))


def the_file() -> Path:
    (file,) = (cache_folder().parent / "step-seconds").iterdir()
    return file


@given(seconds, st.none() | seconds, seconds)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_saved_is_loaded(uncompiled: float, compiled: float | None, warm_up: float) -> None:
    measured = Measurement(uncompiled, compiled, warm_up)
    save("a" * 64, measured)
    assert load("a" * 64) == measured
    assert load("b" * 64) is None


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        b'{"uncompiled": 1, "compiled": 1}',
        b'{"uncompiled": 1, "compiled": 1, "warm_up": 1, "more": 1}',
        b'{"uncompiled": -1, "compiled": 1, "warm_up": 1}',
        b'{"uncompiled": NaN, "compiled": 1, "warm_up": 1}',
        b'{"uncompiled": 1, "compiled": Infinity, "warm_up": 1}',
        b'{"uncompiled": "1", "compiled": 1, "warm_up": 1}',
        b'{"uncompiled": null, "compiled": 1, "warm_up": 1}',
        b'{"uncompiled": true, "compiled": 1, "warm_up": 1}',
    ],
)
def test_a_damaged_file_is_none_and_can_be_replaced(damage: bytes) -> None:
    save("a" * 64, Measurement(1, 2, 3))
    the_file().write_bytes(damage)
    assert load("a" * 64) is None
    save("a" * 64, Measurement(4, None, 6))
    assert load("a" * 64) == Measurement(4, None, 6)


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_only_times_are_measurements(wrong: float) -> None:
    for times in ((wrong, 1.0, 1.0), (1.0, wrong, 1.0), (1.0, 1.0, wrong)):
        with pytest.raises(ValueError, match="not measured times"):
            Measurement(*times)


def test_writers_at_the_same_time_leave_one_whole_measurement() -> None:
    written = [Measurement(i, 2 * i, 3 * i) for i in range(1, 9)]
    save("a" * 64, written[0])
    with ThreadPoolExecutor(8) as pool:
        for measured in written * 5:
            pool.submit(save, "a" * 64, measured)
        seen = [load("a" * 64) for _ in range(100)]
    assert all(measured in written for measured in seen)
    assert json.loads(the_file().read_text())["warm_up"] % 3 == 0


def test_nothing_is_raised_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "file"))
    save("a" * 64, Measurement(1, 2, 3))
    assert load("a" * 64) is None


def test_the_key_follows_from_structure_batch_and_machine_but_not_from_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.zeros(4, 1, 6, 6)
    key = key_of(small_model(), images, precision="float32", mode="fused")
    assert key == key_of(small_model(seed=9), torch.ones(4, 1, 6, 6), precision="float32", mode="fused")
    others = [
        key_of(small_model("group"), images, precision="float32", mode="fused"),
        key_of(nn.Sequential(small_model(), nn.GELU()), images, precision="float32", mode="fused"),
        key_of(small_model().double(), images, precision="float32", mode="fused"),
        key_of(small_model(), images[:3], precision="float32", mode="fused"),
        key_of(small_model(), images.double(), precision="float32", mode="fused"),
        key_of(small_model(), images.to("meta"), precision="float32", mode="fused"),
        key_of(small_model(), images, precision="bfloat16", mode="fused"),
        key_of(small_model(), images, precision="float32", mode="eager"),
    ]
    for name, value in (("torch.get_num_threads", lambda: 77), ("torch.__version__", "9.9")):
        with monkeypatch.context() as patch:
            patch.setattr(name, value)
            others.append(key_of(small_model(), images, precision="float32", mode="fused"))
    monkeypatch.setattr("dp_core.training.measurements.processor", lambda: "another")
    others.append(key_of(small_model(), images, precision="float32", mode="fused"))
    assert len({key, *others}) == 1 + len(others)
