"""run.yaml: what a search or a study was started with, and what of that must not change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dp_core.data import Splits
from dp_core.errors import UserError
from search.comparison.config import ComparisonConfig
from search.config.models import SearchConfig
from search.config.sections import NamedRunSection
from search.kinds import kind_named
from search.runs.checks import splits_of
from search.runs.directory import RunDirectory
from search.runs.record import (
    config_of,
    judged_otherwise,
    kind_of,
    new_record,
    read_run,
    record_sets,
    refuse_changed_data,
    refuse_taken,
    write_record,
)
from tests.search import tiny
from tests.search.comparison.tiny_comparison import comparison_config, ready_made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("record")
    tiny.write_images(found / "images")
    return found


@pytest.fixture(scope="module")
def splits(folder: Path) -> Splits:
    return splits_of(comparison_config(folder))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "runs" / "tiny")


def started(run: RunDirectory, config: SearchConfig | ComparisonConfig, splits: Splits) -> dict[str, Any]:
    run.path.mkdir(parents=True)
    write_record(run, new_record(["winnow", "do", "a b.yaml"], config, splits))
    return read_run(run)


def test_a_record_says_what_it_is_of(run: RunDirectory, folder: Path, splits: Splits) -> None:
    recorded = started(run, comparison_config(folder, run={"seed": 3}), splits)
    assert kind_of(recorded) == "comparison"
    assert recorded["command"] == "winnow do 'a b.yaml'"
    assert recorded["seed"] == 3
    assert recorded["splits"] == {"train": 48, "validation": 12, "test": 15}
    assert recorded["data"] == {name: getattr(splits, name).digest for name in ("train", "validation", "test")}
    assert recorded["images"] == {
        "train": "48 images from train-00000-of-00001.parquet",
        "validation": "12 held back from them",
        "test": "15 from test-00000-of-00001.parquet",
        "notes": [],
    }
    assert recorded["distilled_sets"] == {}
    assert kind_of(new_record(["winnow"], tiny.config_of(folder), splits)) == "search"
    assert kind_of({"config": {}, "data": {}}) == "search"  # from before there were studies


def test_a_config_comes_back_with_folders_in_full(
    run: RunDirectory, folder: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    places = {"data": {"root": "images", "cache": "cache"}, "distill": {"directory": "sets"}}
    config = comparison_config(
        folder, **places, methods={"x": {"source": "real", "steps": [2, 3], "learning_rate": [0.1, 0.2]}}
    )
    found = config_of(run, started(run, config, splits), ComparisonConfig)
    full = {"data": {"root": folder / "images", "cache": folder / "cache"}, "distill": {"directory": folder / "sets"}}
    for section, values in full.items():
        for key, path in values.items():
            assert getattr(getattr(found, section), key) == path.resolve()
    assert found.methods == config.methods
    assert (found.run, found.sparsities, found.retrain) == (config.run, config.sparsities, config.retrain)


@pytest.mark.parametrize(
    ("kind", "now"), [("study", "comparison"), ("proxy-evaluation", "proxies"), ("later", "later")]
)
def test_kinds_have_the_names_of_today(kind: str, now: str) -> None:
    assert kind_of({"kind": kind}) == now


def test_a_run_of_a_later_kind_is_named() -> None:
    with pytest.raises(UserError, match=r"no kind of run 'comparisson'\. Did you mean 'comparison'"):
        kind_named("comparisson")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (ComparisonConfig, "is of the kind 'search', not a comparison of ways to prune"),
        (SearchConfig, "is of the kind 'comparison', not a search"),
    ],
)
def test_a_search_is_no_study_nor_the_other_way_round(
    run: RunDirectory, folder: Path, splits: Splits, model: Any, told: str
) -> None:
    recorded = started(run, tiny.config_of(folder) if model is ComparisonConfig else comparison_config(folder), splits)
    with pytest.raises(UserError, match=told):
        config_of(run, recorded, model)


def test_a_config_edited_into_something_wrong_is_named(run: RunDirectory, folder: Path, splits: Splits) -> None:
    recorded = started(run, comparison_config(folder), splits)
    recorded["config"]["run"]["seeds"] = 0
    with pytest.raises(UserError, match=r"run\.yaml: 'run\.seeds' must be an integer ≥ 1, not 0"):
        config_of(run, recorded, ComparisonConfig)


def test_data_that_changed_are_refused(run: RunDirectory, folder: Path, splits: Splits) -> None:
    recorded = started(run, comparison_config(folder), splits)
    refuse_changed_data(run, recorded, splits, folder)
    changed = replace(splits, test=replace(splits.test, digest="0" * 64))
    with pytest.raises(UserError, match=r"data of the run .* have changed since it started"):
        refuse_changed_data(run, recorded, changed, folder)


def test_a_run_from_before_there_was_one_judge_is_known(run: RunDirectory, folder: Path, splits: Splits) -> None:
    recorded = started(run, comparison_config(folder), splits)
    assert judged_otherwise(recorded) is None
    del recorded["judging"]
    assert "not on one scale" in str(judged_otherwise(recorded))
    assert judged_otherwise({**recorded, "kind": "distillation"}) is None


def test_a_set_that_changed_is_refused(run: RunDirectory, folder: Path, splits: Splits) -> None:
    started(run, comparison_config(folder), splits)
    first, other = ready_made(), replace(ready_made(), images=ready_made().images + 1)
    record_sets(run, {"mtt": first})
    record_sets(run, {"mtt": first})
    assert read_run(run)["distilled_sets"] == {"mtt": first.digest}
    with pytest.raises(UserError, match=r"The distilled set 'mtt' of the run .* has changed since it started"):
        record_sets(run, {"mtt": other})
    assert read_run(run)["distilled_sets"] == {"mtt": first.digest}


def test_a_name_that_is_taken_is_refused(run: RunDirectory, folder: Path, splits: Splits) -> None:
    config = comparison_config(folder)
    refuse_taken(run, config.run)
    started(run, config, splits)
    with pytest.raises(UserError, match=r"go on with it by 'winnow resume .*/runs/tiny', or choose another run.name"):
        refuse_taken(run, config.run)


def test_a_folder_of_something_else_is_not_written_to(run: RunDirectory, folder: Path) -> None:
    run.path.mkdir(parents=True)
    (run.path / "driver.lock").touch()
    refuse_taken(run, comparison_config(folder).run)  # a driver that was stopped before it began
    (run.path / "thesis.tex").touch()
    with pytest.raises(UserError, match="is not empty and not a run"):
        refuse_taken(run, comparison_config(folder).run)


@pytest.mark.parametrize("content", ["", "text", "[1, 2]", "config: {}", "data: {}", "a: [", "\x00"])
def test_what_is_no_record_is_named(run: RunDirectory, content: str) -> None:
    run.path.mkdir(parents=True)
    run.config.write_text(content)
    with pytest.raises(UserError, match=r"run\.yaml (is not the record of a run|cannot be read)"):
        read_run(run)


def test_a_record_is_plain_yaml(run: RunDirectory, folder: Path, splits: Splits) -> None:
    recorded = started(run, comparison_config(folder), splits)
    assert yaml.safe_load(run.config.read_text()) == recorded


@pytest.mark.parametrize("damage", ["half", "byte"])
def test_a_damaged_record_is_named(tmp_path: Path, damage: str) -> None:
    run = RunDirectory(tmp_path)
    whole = yaml.safe_dump({"data": {}, "config": {"run": {"name": "x"}}, "distilled_sets": {}}, sort_keys=False)
    content = whole.encode()
    run.config.write_bytes(content[: len(content) - 20] if damage == "half" else content.replace(b"x", b"\xff", 1))
    with pytest.raises(UserError, match=r"run\.yaml (is damaged: it ends before 'distilled_sets'|cannot be read)"):
        read_run(run)


def test_what_a_driver_killed_at_once_has_left_is_in_nobodys_way(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    (tmp_path / ".run.yaml.0123.tmp").touch()
    section = NamedRunSection(name="x")
    refuse_taken(run, section)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="is not empty and not a run"):
        refuse_taken(run, section)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("config", None, "'config' is no mapping"),
        ("config", [1], "'config' is no mapping"),
        ("data", None, "'data' is no mapping"),
        ("data", {}, "'data' has no 'train'"),
        ("distilled_sets", None, "'distilled_sets' is no mapping"),
    ],
)
def test_a_record_with_something_else_in_a_place_is_damaged(
    run: RunDirectory, folder: Path, splits: Splits, key: str, value: Any, told: str
) -> None:
    recorded = started(run, comparison_config(folder), splits)
    run.config.write_text(yaml.safe_dump({**recorded, key: value}))
    with pytest.raises(UserError, match=rf"run\.yaml is damaged: {told}"):
        read_run(run)
