from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from packaging.requirements import Requirement

from search.cli.doctor import (
    check_bfloat16,
    check_data,
    check_kernels,
    check_memory,
    check_ray,
    check_shared_memory,
    check_version,
    check_versions,
    check_writing,
    diagnose,
)
from search.runs.machine import GIB
from tests.search.conftest import Outcome
from tests.search.json_shape import rows_of


def test_versions_are_compared_with_the_bounds_in_the_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numpy = importlib.metadata.version("numpy")
    metadata = tmp_path / "sieve-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(
        "Metadata-Version: 2.1\nName: sieve\nVersion: 1.0\n"
        f"Requires-Dist: numpy>={numpy}\n"
        f"Requires-Dist: pyarrow!={importlib.metadata.version('pyarrow')}\n"
        "Requires-Dist: no-such-library>=3\n"
        'Requires-Dist: no-such-tool; extra == "dev"\n'
        'Requires-Dist: no-such-backport; python_version < "3"\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    checks = check_versions("sieve")
    assert [(check.name, check.ok) for check in checks] == [
        ("numpy", True),
        ("pyarrow", False),
        ("no-such-library", False),
    ]
    assert checks[0].detail == f"{numpy} (>={numpy})"
    assert checks[2].detail == "not installed (>=3 is needed); run make setup"


def test_an_uninstalled_distribution_has_no_known_bounds() -> None:
    (check,) = check_versions("no-such-distribution")
    assert check.ok is None


def test_a_build_suffix_such_as_cu130_does_not_count() -> None:
    release = importlib.metadata.version("torch").split("+")[0]
    assert check_version(Requirement(f"torch>={release}")).ok is True
    assert check_version(Requirement(f"torch<{release}")).ok is False


@pytest.mark.parametrize(
    ("flags", "ok", "unit"),
    [
        ({"fpu", "amx_bf16", "amx_tile", "avx512_bf16"}, True, "AMX, AVX-512"),
        ({"asimd", "bf16"}, True, "Arm"),
        ({"fpu", "avx2", "avx512f"}, None, "float32"),
    ],
)
def test_bfloat16_follows_the_cpu_flags(flags: set[str], ok: bool | None, unit: str) -> None:
    check = check_bfloat16(frozenset(flags))
    assert check.ok is ok
    assert unit in check.detail


def test_missing_kernels_are_a_hint_and_not_an_error() -> None:
    assert check_kernels(True).ok is True
    missing = check_kernels(False)
    assert missing.ok is None
    assert "compiler" in missing.detail


def test_memory_is_enough_from_two_gibibytes() -> None:
    assert check_memory(2 * GIB).ok is True
    assert check_memory(2 * GIB - 1).ok is False


def test_shared_memory_must_hold_the_share_ray_takes(tmp_path: Path) -> None:
    statistics = os.statvfs(tmp_path)
    room = statistics.f_bavail * statistics.f_frsize
    assert check_shared_memory(tmp_path, room).ok is True  # 30 % of it is wanted
    assert check_shared_memory(tmp_path, 5 * room).ok is None  # 150 %
    assert check_shared_memory(tmp_path / "absent", room).ok is None


def test_writing_is_tried_where_the_folder_would_be_made_and_leaves_nothing(tmp_path: Path) -> None:
    assert check_writing(tmp_path / "new" / "runs").ok is True
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    check = check_writing(tmp_path / "file")
    assert check.ok is False
    assert check.detail.startswith(f"{tmp_path / 'file'} cannot be written: ")


def test_data_rows_are_counted_over_shards(tmp_path: Path) -> None:
    for shard, rows in enumerate([3, 1200]):
        (tmp_path / "data").mkdir(exist_ok=True)
        pq.write_table(pa.table({"label": list(range(rows))}), tmp_path / "data" / f"train-{shard}.parquet")
    check = check_data("mini", tmp_path)
    assert (check.name, check.ok) == ("data mini", True)
    assert check.detail == f"{tmp_path}: 1,203 rows of Parquet"


def test_missing_and_truncated_data_are_named(tmp_path: Path) -> None:
    absent = check_data("mini", tmp_path / "absent")
    assert (absent.ok, absent.detail) == (False, f"{tmp_path / 'absent'} is not there")
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table({"label": [1, 2, 3]}), file)
    file.write_bytes(file.read_bytes()[:-20])
    truncated = check_data("mini", tmp_path)
    assert truncated.ok is False
    assert truncated.detail.startswith(f"{file} cannot be read: ")


def test_a_folder_of_images_is_simply_there(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    check = check_data("photos", tmp_path)
    assert (check.ok, check.detail) == (True, f"{tmp_path} is there")


def test_diagnose_looks_at_every_point_and_writes_nothing(tmp_path: Path) -> None:
    names = [check.name for check in diagnose([("mini", tmp_path / "absent")], tmp_path / "runs")]
    assert names[0] == "python"
    assert names[-1] == "data mini"
    for name in ("cpu", "cpu bfloat16", "cpu kernels", "memory", "shared memory", "run directory", "disk"):
        assert names.count(name) == 1
    assert any(name.startswith("gpu") for name in names)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ray
def test_ray_starts_runs_a_task_elsewhere_and_stops() -> None:
    import ray

    check = check_ray()
    assert check.ok is True, check.detail
    assert not ray.is_initialized()


@pytest.mark.ray
def test_ray_starts_where_the_folder_for_temporary_files_has_a_long_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / ("temporary-files-of-a-job-on-a-cluster-" * 3)
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    check = check_ray()
    assert check.ok is True, check.detail
    assert list(place.iterdir()) == []


def test_checks_are_rows_for_programs(winnow: Callable[..., Outcome]) -> None:
    rows = rows_of(winnow("doctor", "--no-ray", "--json").out)
    assert {"name", "ok", "detail"} <= rows[0].keys()
