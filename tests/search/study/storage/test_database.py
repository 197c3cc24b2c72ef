"""The study in a real SQLite file: what is flushed, what a full disk leaves, and what damage says."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from optuna.trial import TrialState

from dp_core.errors import UserError
from search.config.objectives import objectives_of
from search.study.storage.store import TrialStore, exists, read_trials
from tests.search.study.events import proposal, said, tell


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/study.db"


def opened(folder: Path) -> TrialStore:
    return TrialStore.open(folder / "study.journal", url_of(folder), "winnow", objectives_of(["score"]))


def test_an_event_is_one_transaction_and_outlasts_the_power(tmp_path: Path) -> None:
    store = opened(tmp_path)
    commits: list[int] = []
    sqlalchemy.event.listen(store._storage.engine, "commit", lambda _: commits.append(1))  # type: ignore[attr-defined]
    events: list[Callable[[], object]] = [
        lambda: store.keep_round(0, "round:0001", {"score": 0.5}, 1, 0.5),
        lambda: store.end(0, TrialState.COMPLETE, [0.5], {"reason": "done"}, {"flops": 1.0, "latency": 2.0}),
    ]
    store.add(proposal())
    for event in events:
        commits.clear()
        event()
        assert len(commits) == 1
    with closing(sqlite3.connect(tmp_path / "study.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_kill_loses_nothing_that_was_told(tmp_path: Path) -> None:
    script = (
        "import sys, os, signal; from pathlib import Path; from tests.search.study.events import tell; "
        "from tests.search.study.storage.test_database import opened; "
        "tell(opened(Path(sys.argv[1]))); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    other = tmp_path / "undisturbed"
    other.mkdir()
    tell(opened(other))
    assert said(opened(tmp_path).trials()) == said(opened(other).trials())


@pytest.fixture
def room() -> Iterator[list[int]]:
    """Return a list of one number: the pages that a file of SQLite may have."""
    pages = [1_000_000]

    def limit(connection: sqlalchemy.Connection) -> None:
        connection.connection.cursor().execute(f"PRAGMA max_page_count = {pages[0]}")  # outside of any transaction

    sqlalchemy.event.listen(sqlalchemy.Engine, "engine_connect", limit)
    yield pages
    sqlalchemy.event.remove(sqlalchemy.Engine, "engine_connect", limit)


def test_a_full_disk_is_told_and_the_study_goes_on_when_there_is_room(tmp_path: Path, room: list[int]) -> None:
    store = opened(tmp_path)
    store.add(proposal())
    store.keep_round(0, "round:0001", {"score": 0.5}, 1, 0.5)
    before = said(store.trials())
    room[0] = 1  # SQLite takes it for: no page more than there are
    long = {"text": "x" * 20_000}
    events: list[Callable[[], object]] = [
        lambda: store.keep_round(0, "round:0002", long, 2, 0.75),
        lambda: store.end(0, TrialState.COMPLETE, [0.5], {"reason": long}, {}),
    ]
    for event in events:
        with pytest.raises(UserError, match=r"^There is no room left on the disk for sqlite:///.*study\.db\.$"):
            event()
        assert said(store.trials()) == before
    room[0] = 1_000_000
    for event in events:
        event()
    (trial,) = opened(tmp_path).trials()
    assert (trial.state, trial.intermediate_values) == (TrialState.COMPLETE, {1: 0.5, 2: 0.75})


@pytest.mark.parametrize("damage", ["page", "cut", "text"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    store = opened(tmp_path)
    for _ in range(20):
        store.add(proposal())
    store.close()
    path = tmp_path / "study.db"
    content = path.read_bytes()
    damaged = {
        "page": content[:8192] + os.urandom(len(content) - 8192),
        "cut": content[: len(content) // 2],
        "text": b"no database at all, but long enough to be taken for one" * 40,
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(UserError, match=r"^The study database sqlite:///.*study\.db is damaged: .*\.$"):
        opened(tmp_path)


def test_an_attribute_that_is_no_json_is_named(tmp_path: Path) -> None:
    tell(opened(tmp_path))
    with closing(sqlite3.connect(tmp_path / "study.db")) as connection:
        connection.execute("UPDATE trial_user_attributes SET value_json = '{\"a' WHERE key = 'candidate'")
        connection.commit()
    with pytest.raises(UserError, match=r"study\.db is damaged: "):
        read_trials(tmp_path / "study.journal", url_of(tmp_path), "winnow")


def test_tables_of_another_version_are_named(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "study.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
        connection.commit()
    with pytest.raises(UserError, match=r"study\.db has the tables of another version of Optuna; `optuna storage up"):
        opened(tmp_path)


def test_a_database_of_something_else_has_no_study(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "study.db")) as connection:
        connection.execute("CREATE TABLE studies_of_mine (name TEXT)")
        connection.commit()
    assert not exists(url_of(tmp_path), "winnow")
    assert read_trials(tmp_path / "study.journal", url_of(tmp_path), "winnow") == []
    assert opened(tmp_path).add(proposal()) == 0


def test_it_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with closing(sqlite3.connect(tmp_path / "study.db")) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM trials").fetchone() == (0,)
        assert store.add(proposal()) == 0
        assert len(read_trials(tmp_path / "study.journal", url_of(tmp_path), "winnow")) == 1


def test_a_brace_in_a_path_is_a_brace(tmp_path: Path) -> None:
    folder = tmp_path / "{SCHEMA_VERSION}"
    folder.mkdir()
    opened(folder).add(proposal())
    assert (folder / "study.db").exists()
