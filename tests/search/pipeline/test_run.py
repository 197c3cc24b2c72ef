"""Starting and resuming, up to the point where Ray would have something to do."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from dp_core.errors import UserError
from dp_core.files import digest_of_file
from search import pipeline
from search.config.models import SearchConfig
from search.kinds.search import Search
from search.pipeline.preparation import prepare
from search.pipeline.run import parameter_types
from search.pipeline.screening import phase_storage
from search.runs import life_cycle
from search.runs.directory import RunDirectory
from search.runs.life_cycle import Driver
from search.runs.progress import Progress
from search.runs.record import config_of, read_run
from search.space import Space
from tests.search.tiny import config_tree, write_images

HERE = Driver(None, Progress(quiet=True))
ROW = {"rank": 1}
Begin = Callable[..., RunDirectory]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with images, without Ray and without anything being run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("search.runs.ray_session.ray_session", lambda *arguments: nullcontext())
    monkeypatch.setattr(life_cycle, "_advance", lambda *arguments: [ROW])
    write_images(tmp_path / "images")
    return tmp_path


def relative_config(**changes: Any) -> SearchConfig:
    """Return a config whose paths are relative to the current folder."""
    return SearchConfig.model_validate(config_tree(Path(), **changes))


def resume(run: RunDirectory) -> list[dict[str, Any]]:
    return life_cycle.resume(Search(), run, HERE)


@pytest.fixture
def begin(folder: Path) -> Begin:
    def run(**changes: Any) -> RunDirectory:
        config = relative_config(**changes)
        assert life_cycle.start(Search(), config, "tiny.yaml", ["winnow", "search", "my file.yaml"], HERE) == [ROW]
        return RunDirectory((folder / "runs" / config.run.name).resolve())

    return run


def test_a_run_is_written_down_before_anything_else(begin: Begin) -> None:
    run = begin(run={"seed": 3})
    assert sorted(path.name for path in run.path.iterdir()) == [
        "config.json",
        "driver.lock",
        "run.yaml",
        "study.journal",
        "study.journal.mirror",
    ]
    recorded = read_run(run)
    assert recorded["command"] == "winnow search 'my file.yaml'"
    assert recorded["seed"] == 3
    assert recorded["splits"] == {"train": 48, "validation": 12, "test": 15}
    assert set(recorded["data"]) == {"train", "validation", "test"}
    assert {"torch", "ray", "optuna", "winnow"} <= set(recorded["versions"])
    assert "2026" <= recorded["started"][:4] <= "2199"


def test_the_config_comes_back_from_the_record_with_absolute_paths(begin: Begin, folder: Path) -> None:
    run = begin(space={"recipe": {"learning_rate": 1e-5}})
    found = config_of(run, read_run(run), SearchConfig)
    expected = relative_config(space={"recipe": {"learning_rate": 1e-5}}).model_dump()
    assert found.data.root == folder.resolve() / "images"
    assert found.data.cache == folder.resolve() / "cache"
    assert found.distill.directory == folder.resolve() / "sets"
    for section, key in (("run", "directory"), ("data", "root"), ("data", "cache"), ("distill", "directory")):
        expected[section][key] = getattr(getattr(found, section), key)
    assert found.model_dump() == expected


def test_a_run_is_resumed_from_wherever_one_is(
    begin: Begin, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert resume(run) == [ROW]
    assert list(Path.cwd().iterdir()) == []


def test_a_run_whose_data_changed_is_not_resumed(begin: Begin, folder: Path) -> None:
    run = begin()
    shard = folder / "images" / "test-00000-of-00001.parquet"
    shard.write_bytes((folder / "images" / "train-00000-of-00001.parquet").read_bytes())
    with pytest.raises(UserError, match=r"data of the run .* have changed since it started"):
        resume(run)


def test_a_run_of_that_name_is_not_overwritten(begin: Begin) -> None:
    run = begin()
    before = digest_of_file(run.config)
    with pytest.raises(UserError, match="winnow resume runs/tiny"):
        begin(run={"seed": 9})
    assert digest_of_file(run.config) == before


def test_of_two_drivers_started_at_once_the_second_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory((folder / "runs" / "tiny").resolve())

    @contextmanager
    def while_ray_starts(*arguments: object) -> Iterator[None]:
        run.path.mkdir(parents=True)
        run.config.write_text("the other driver's")
        with (run.path / "driver.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    # The quicker driver holds the lock and has written its config by the time that this one has checked its own.
    def prepared_slowly(*arguments: Any, **keywords: Any) -> Any:
        found = prepare(*arguments, **keywords)
        quicker.enter_context(while_ray_starts())
        return found

    monkeypatch.setattr(pipeline, "prepare", prepared_slowly)
    with ExitStack() as quicker, pytest.raises(UserError, match="already being driven"):
        life_cycle.start(Search(), relative_config(), "tiny.yaml", ["winnow"], HERE)
    assert run.config.read_text() == "the other driver's"


def test_checkpoints_are_kept_in_the_run_or_in_a_storage_that_all_nodes_see(folder: Path) -> None:
    run = RunDirectory(folder / "runs" / "tiny")

    def kept(storage: str | None) -> str:
        prepared = prepare(relative_config(run={"storage": storage}), "tiny.yaml", local=False)
        return phase_storage(run, prepared, "screening")

    assert kept(None) == str(folder / "runs" / "tiny" / "screening")
    assert kept("file:///bucket/path/") == "file:///bucket/path/tiny/screening"
    assert kept("/shared") == "/shared/tiny/screening"


def test_a_storage_may_be_given_relative_to_the_current_folder(folder: Path) -> None:
    run = RunDirectory(folder / "runs" / "tiny")
    prepared = prepare(relative_config(run={"storage": "shared"}), "tiny.yaml", local=False)
    assert phase_storage(run, prepared, "screening") == str(folder.resolve() / "shared" / "tiny" / "screening")


@pytest.mark.parametrize("content", ["", "text", "[1, 2]", "config: {}", "data: {}"])
def test_what_is_no_record_is_named(begin: Begin, content: str) -> None:
    run = begin()
    run.config.write_text(content)
    with pytest.raises(UserError, match=r"run\.yaml is not the record of a run"):
        resume(run)


def test_a_record_edited_into_something_wrong_is_named(begin: Begin) -> None:
    run = begin()
    recorded = read_run(run)
    recorded["config"]["search"]["trials"] = 0
    run.config.write_text(yaml.safe_dump(recorded))
    with pytest.raises(UserError, match=r"run\.yaml: 'search\.trials' must be an integer ≥ 1, not 0"):
        resume(run)


def test_searched_parameters_are_told_with_the_types_of_their_values() -> None:
    space = Space.parse(
        {
            "a": {"int": [1, 3]},
            "b": {"float": [0.1, 0.2]},
            "group": {"c": {"choice": ["x", "y"]}, "d": {"choice": [True, False]}, "e": {"choice": [1, "x"]}},
            "constant": 3,
        }
    )
    assert parameter_types(space) == {"a": int, "b": float, "group.c": str, "group.d": bool, "group.e": str}


def test_a_driver_that_is_stopped_while_it_begins_leaves_a_run_that_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory((folder / "runs" / "tiny").resolve())

    def stopped(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "make_study", stopped)
    with pytest.raises(KeyboardInterrupt):
        life_cycle.start(Search(), relative_config(), "tiny.yaml", ["winnow"], HERE)
    assert run.config.exists()
    assert not run.agreed.exists()
    assert life_cycle.resume_or_start(Search(), relative_config(), "tiny.yaml", ["winnow"], HERE) == [ROW]
    assert run.agreed.exists()


def test_what_cannot_begin_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise UserError("the database is gone")

    monkeypatch.setattr(pipeline, "make_study", refused)
    with pytest.raises(UserError, match="the database is gone"):
        life_cycle.start(Search(), relative_config(), "tiny.yaml", ["winnow"], HERE)
    assert not (folder / "runs" / "tiny").exists()


def test_the_error_of_the_work_is_told_rather_than_that_of_its_report(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin()
    monkeypatch.undo()

    def fails(text: str) -> Callable[..., None]:
        def failing(*arguments: object) -> None:
            raise UserError(text)

        return failing

    monkeypatch.setattr("search.runs.ray_session.ray_session", lambda *arguments: nullcontext())
    monkeypatch.setattr(Search, "advance", fails("the work went wrong"))
    monkeypatch.setattr(Search, "report", fails("no tables either"))
    with pytest.raises(UserError, match="the work went wrong"):
        resume(run)
