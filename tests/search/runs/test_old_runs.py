"""Run folders of every kind that Winnow 0.1.0 left behind when it was killed in the middle: they go on.

`folders/<kind>.zip` hold them as they were, with a folder of another machine in every path.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.search.conftest import Outcome
from tests.search.distillation.tiny_distillation import contents
from tests.search.tiny import write_images

MOVED = {
    "search": ("data.root=images", "data.cache=cache", "distill.directory=sets"),
    "study": ("data.root=images", "data.cache=cache", "distill.directory=sets"),
    "proxy-evaluation": ("data.root=images", "data.cache=cache", "truth.directory=truth"),
    "distillation": ("data.root=images", "data.cache=cache", "distill.experts=experts"),
}
# What has ended stays as it is, byte for byte.
KEPT = {"search": "tickets/*/*", "study": "searches/**/*.json", "distillation": "images/2ipc-00020.png"}
MADE = {
    "search": ("leaderboard.parquet", "report.html"),
    "study": ("results.parquet", "results.md"),
    "proxy-evaluation": ("answers.parquet", "results.md"),
    "distillation": ("tiny-2ipc.safetensors",),
}


def old_run(kind: str, folder: Path) -> Path:
    """Unpack the old run of this kind into `folder`, with its images; return the run's folder."""
    write_images(folder / "images")
    with zipfile.ZipFile(Path(__file__).parent / "folders" / f"{kind}.zip") as archive:
        archive.extractall(folder / "runs")
    return folder / "runs" / "tiny"


@pytest.mark.ray
@pytest.mark.parametrize("kind", list(MOVED))
def test_an_old_run_goes_on_from_where_it_was_killed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, winnow: Callable[..., Outcome]
) -> None:
    run = old_run(kind, tmp_path)
    monkeypatch.chdir(tmp_path)
    before = winnow("status", "tiny", "--json")
    assert before.status == 0, before.err
    assert '"state": "stopped"' in before.out
    kept = {path: path.read_bytes() for path in run.glob(KEPT[kind])} if kind in KEPT else {}
    assert kept or kind not in KEPT
    scores = (run / "scores.jsonl").read_bytes() if kind == "proxy-evaluation" else b""

    outcome = winnow("resume", "tiny", *MOVED[kind])

    assert outcome.status == 0, outcome.err
    assert all((run / name).is_file() for name in MADE[kind]), sorted(contents(run))
    assert {path: path.read_bytes() for path in kept} == kept
    assert scores == b"" or (run / "scores.jsonl").read_bytes().startswith(scores)
    assert '"state": "finished"' in winnow("status", "tiny", "--json").out
