"""What makes a resumed run the same: the contents of its data and of the user's modules, not where they are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.kinds.comparison import Comparison
from search.kinds.distillation import Distillation
from search.kinds.proxies import Proxies
from search.kinds.search import Search
from search.runs import life_cycle
from search.runs.directory import RunDirectory
from search.runs.record import read_run, record_sets, write_record
from tests.search.comparison.tiny_comparison import ready_made, write_comparison
from tests.search.conftest import Outcome
from tests.search.distillation.tiny_distillation import write_distillation
from tests.search.proxies.tiny_evaluation import write_evaluation
from tests.search.test_bad_input import refusal
from tests.search.tiny import write_config

Winnow = Callable[..., Outcome]

KINDS = ("search", "prune", "proxy-eval", "distill")
NETWORK = {"name": "mine:net", "width": 4}
MODULE = """
from torch import nn

import blocks


def net(shape, classes, width=4):
    channels, height, wide = shape
    layers = [nn.Conv2d(channels, width, 3, padding=1), blocks.activation(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(width * height * wide, classes))
"""
BLOCKS = "from torch import nn\n\n\ndef activation():\n    return nn.ReLU()\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a network of one's own, without Ray and without anything being run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(life_cycle, "_advance", lambda *arguments: [{}])
    monkeypatch.setattr("search.runs.ray_session.ray_session", lambda *arguments: nullcontext())
    for kind in (Search, Comparison, Proxies, Distillation):
        monkeypatch.setattr(kind, "show", lambda *arguments: None)
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "blocks.py").write_text(BLOCKS)
    return tmp_path


def begin(winnow: Winnow, folder: Path, kind: str, *options: str) -> RunDirectory:
    """Start a run of a kind with the network of one's own."""
    network: dict[str, Any] = dict(NETWORK)
    if kind == "search":
        model = {**network, "width": {"choice": [4, 8]}, "depth": None, "norm": None, "pooling": None}
        path = write_config(folder, space={"model": model})
    elif kind == "prune":
        path = write_comparison(folder, models={"mine": network})
    elif kind == "proxy-eval":
        path = write_evaluation(folder, space={"models": {**network, "width": list(range(1, 13))}})
    else:
        path = write_distillation(folder, distill={"architectures": {**network, "depth": None, "norm": None}})
    path = path.rename(folder / "config.yaml")
    outcome = winnow(kind, path, *options)
    assert outcome.status == 0, outcome.err
    return RunDirectory(folder / "runs" / "tiny")


@pytest.mark.parametrize("kind", KINDS)
def test_data_that_were_moved_are_the_same_data(winnow: Winnow, folder: Path, kind: str) -> None:
    run = begin(winnow, folder, kind)
    shutil.move(folder / "images", folder / "elsewhere")
    moved = winnow("resume", run.path, "data.root=elsewhere")
    assert moved.status == 0, moved.err
    assert f"data.root: '{folder / 'images'}"[:40] in moved.err.replace("\n", "")
    assert "moved, and the same" in moved.err
    assert read_run(run)["config"]["data"]["root"] == str(folder / "elsewhere")
    assert winnow("resume", run.path).status == 0


@pytest.mark.parametrize("kind", KINDS)
def test_how_far_a_run_is_can_be_seen_without_its_data(winnow: Winnow, folder: Path, kind: str) -> None:
    run = begin(winnow, folder, kind)
    before = [winnow(command, run.path, "--json") for command in ("status", "report")]
    shutil.move(folder / "images", folder / "elsewhere")
    for command, expected in zip(("status", "report"), before, strict=True):
        found = winnow(command, run.path, "--json")
        assert (found.status, found.out) == (0, expected.out), found.err


@pytest.mark.parametrize("kind", KINDS)
def test_how_far_a_run_is_can_be_seen_without_a_note_of_what_it_is_to_make(
    winnow: Winnow, folder: Path, kind: str
) -> None:
    run = begin(winnow, folder, kind)
    assert run.wanted.exists() is (kind != "search")
    before = winnow("status", run.path, "--json")
    run.wanted.unlink(missing_ok=True)
    assert winnow("status", run.path, "--json").out == before.out
    assert winnow("resume", run.path).status == 0
    assert run.wanted.exists() is (kind != "search"), "an older run has one from now on"


@pytest.mark.parametrize("kind", KINDS)
def test_other_data_are_refused_wherever_they_are(winnow: Winnow, folder: Path, kind: str) -> None:
    run = begin(winnow, folder, kind)
    shutil.copytree(folder / "images", folder / "other")
    shutil.copy(folder / "other" / "train-00000-of-00001.parquet", folder / "other" / "test-00000-of-00001.parquet")
    before = run.config.read_bytes()
    assert "have changed since it started" in refusal(winnow("resume", run.path, "data.root=other"))
    assert run.config.read_bytes() == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_would_make_it_another_run_is_refused(winnow: Winnow, folder: Path, kind: str) -> None:
    run = begin(winnow, folder, kind)
    sentence = refusal(winnow("resume", run.path, "run.seed=7"))
    assert "was changed where it would be another run" in sentence
    assert "run.seed: 0 → 7" in sentence


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["mine.py", "blocks.py"])
def test_a_module_that_was_edited_has_to_be_accepted(winnow: Winnow, folder: Path, kind: str, name: str) -> None:
    run = begin(winnow, folder, kind)
    assert set(read_run(run)["sources"]) == {"mine", "blocks"}
    (folder / name).write_text((folder / name).read_text().replace("nn.ReLU()", "nn.Tanh()") + "MORE = 1\n")
    sentence = refusal(winnow("resume", run.path))
    assert sentence.startswith(f"{name} has changed since the run")
    assert "--accept-changes" in sentence
    assert winnow("resume", run.path, "--accept-changes").status == 0
    assert winnow("resume", run.path).status == 0, "from now on it is this source"


def test_no_ticket_is_retrained_by_a_module_that_was_edited(winnow: Winnow, folder: Path) -> None:
    run = begin(winnow, folder, "search")
    (folder / "blocks.py").write_text(BLOCKS.replace("ReLU", "Tanh"))
    assert refusal(winnow("retrain", run.path)).startswith("blocks.py has changed since the run")
    assert winnow("resume", run.path, "--accept-changes").status == 0
    assert "has no tickets yet" in refusal(winnow("retrain", run.path))


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_that_was_touched_or_commented_is_the_same(winnow: Winnow, folder: Path, kind: str) -> None:
    run = begin(winnow, folder, kind)
    (folder / "mine.py").write_text(MODULE.replace("    channels,", "    # of the images\n    channels,"))
    os.utime(folder / "blocks.py", (1, 1))
    assert winnow("resume", run.path).status == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_from_before_sources_were_recorded_goes_on(winnow: Winnow, folder: Path, kind: str) -> None:
    run = begin(winnow, folder, kind)
    recorded = read_run(run)
    del recorded["sources"]
    write_record(run, recorded)
    (folder / "mine.py").write_text(MODULE + "MORE = 1\n")
    assert winnow("resume", run.path).status == 0
    assert set(read_run(run)["sources"]) == {"mine", "blocks"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_from_before_there_was_one_judge_says_so(winnow: Winnow, folder: Path, kind: str) -> None:
    run = begin(winnow, folder, kind)
    recorded = read_run(run)
    del recorded["judging"]
    write_record(run, recorded)
    trained = kind != "distill"
    assert ("are not on one scale" in " ".join(winnow("status", run.path).out.split())) is trained
    assert ("are not on one scale" in winnow("resume", run.path).err) is trained


def test_the_source_of_a_sampler_counts_too(winnow: Winnow, folder: Path) -> None:
    code = "from optuna.samplers import RandomSampler\n\n\ndef make(seed):\n    return RandomSampler(seed=seed)\n"
    (folder / "drawing.py").write_text(code)
    path = write_config(folder, search={"sampler": "drawing:make"})
    assert winnow("search", path).status == 0
    (folder / "drawing.py").write_text(code.replace("seed=seed", "seed=seed + 1"))
    assert refusal(winnow("resume", folder / "runs" / "tiny")).startswith("drawing.py has changed")


def test_earlier_runs_of_another_program_teach_nothing(winnow: Winnow, folder: Path) -> None:
    run = begin(winnow, folder, "search")
    tree = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "blocks.py").write_text(BLOCKS.replace("ReLU", "Tanh"))
    (folder / "config.yaml").write_text(yaml.safe_dump({**tree, "run": {**tree["run"], "name": "next"}}))
    sentence = refusal(winnow("search", "config.yaml", f"search.start.runs=[{run.path}]"))
    assert "was run with another blocks" in sentence


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_resumed_or_started_twice_is_started_once(winnow: Winnow, folder: Path, kind: str) -> None:
    run = begin(winnow, folder, kind, "--resume-or-start")
    before = read_run(run)
    assert "exists in" in refusal(winnow(kind, "config.yaml"))
    again = winnow(kind, "config.yaml", "--resume-or-start")
    assert again.status == 0, again.err
    assert read_run(run) == before


@pytest.mark.parametrize("kind", KINDS)
def test_another_config_is_not_taken_for_the_runs_own(winnow: Winnow, folder: Path, kind: str) -> None:
    run = begin(winnow, folder, kind)
    before = run.config.read_bytes()
    again = ("config.yaml", "run.seed=7", "--resume-or-start", "--accept-changes")
    assert "would be another run: run.seed: 0 → 7" in refusal(winnow(kind, *again))
    assert run.config.read_bytes() == before


def test_what_may_be_changed_has_to_be_accepted_here_too(winnow: Winnow, folder: Path) -> None:
    run = begin(winnow, folder, "search")
    again = ("search", "config.yaml", "search.trials=9", "resources.concurrency=2", "--resume-or-start")
    assert "has changed: search.trials: 4 → 9. Resume it with --accept-changes" in refusal(winnow(*again))
    assert winnow(*again, "--accept-changes").status == 0
    assert read_run(run)["config"]["search"]["trials"] == 9
    assert read_run(run)["config"]["resources"]["concurrency"] == 2
    assert winnow(*again).status == 0


def test_a_run_of_another_kind_is_not_taken_up(winnow: Winnow, folder: Path) -> None:
    begin(winnow, folder, "search")
    begin_path = write_comparison(folder)
    sentence = refusal(winnow("prune", begin_path, "--resume-or-start"))
    assert "is of the kind 'search', not a comparison of ways to prune" in sentence


def test_what_a_driver_left_that_had_not_begun_is_started(winnow: Winnow, folder: Path) -> None:
    (folder / "runs" / "tiny").mkdir(parents=True)
    (folder / "runs" / "tiny" / "driver.lock").write_text("1")
    begin(winnow, folder, "search", "--resume-or-start")


def test_a_run_that_is_driven_is_left_to_its_driver(winnow: Winnow, folder: Path) -> None:
    run = begin(winnow, folder, "search")
    with run.locked():
        assert "is already being driven" in refusal(winnow("search", "config.yaml", "--resume-or-start"))


def test_changes_are_accepted_of_what_there_is(winnow: Winnow, folder: Path) -> None:
    path = write_config(folder)
    assert "--accept-changes goes with --resume-or-start" in refusal(winnow("search", path, "--accept-changes"))


def test_a_set_that_is_not_the_runs_own_is_refused_before_anything_is_written(winnow: Winnow, folder: Path) -> None:
    run = begin(winnow, folder, "search")
    record_sets(run, {"distilled-2": ready_made()})
    replace(ready_made(), images=ready_made().images + 1).save(folder / "mine.safetensors")
    before = run.config.read_bytes(), run.agreed.read_bytes()
    changed = ("resume", run.path, "sets={mine: mine.safetensors}", "--accept-changes")
    assert "distilled set 'distilled-2' of the run" in refusal(winnow(*changed))
    assert (run.config.read_bytes(), run.agreed.read_bytes()) == before
    assert winnow("resume", run.path).status == 0


def test_a_folder_for_runs_that_is_a_file_is_refused_at_once(winnow: Winnow, folder: Path) -> None:
    path = write_config(folder)
    assert "'run.directory': nothing can be kept in" in refusal(winnow("search", path, f"run.directory={path}"))


def test_a_run_is_where_its_folder_is(winnow: Winnow, folder: Path) -> None:
    run = begin(winnow, folder, "search")
    shutil.move(folder / "runs", folder / "moved")
    moved = winnow("resume", folder / "moved" / "tiny", "run.directory=nowhere")
    assert moved.status == 0, moved.err
    recorded = read_run(RunDirectory(folder / "moved" / "tiny"))["config"]["run"]
    assert recorded["directory"] == str(folder / "moved")
    assert not run.path.exists()
