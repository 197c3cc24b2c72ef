"""Database URLs as users write them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dp_core.errors import UserError
from search.study.storage.database_url import check_url, resolve_url, shown_url, sqlite_path


def test_a_file_that_is_not_there_yet_is_well_and_is_not_made(tmp_path: Path) -> None:
    check_url(f"sqlite:///{tmp_path}/study.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["study.db", "", "sqlite", "postgresql//me@host/name", "postgresql://me@host:port/name"]
)
def test_what_is_no_url_is_told(url: str) -> None:
    with pytest.raises(
        UserError, match=r"^'search.storage' is '.*', which is no database URL such as sqlite:///study\.db"
    ):
        check_url(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgres://me@host/name", "names the database 'postgres', which is unknown. Did you mean 'postgresql'?"),
        ("sqllite:///study.db", "names the database 'sqllite', which is unknown. Did you mean 'sqlite'?"),
        ("redis://host", "names the database 'redis', which is unknown."),
        (
            "sqlite+nodriver:///study.db",
            "names the database 'sqlite+nodriver', which is unknown. Did you mean 'sqlite'?",
        ),
    ],
)
def test_an_unknown_database_is_told_with_the_nearest(url: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        check_url(url)
    assert str(caught.value) == f"'search.storage' {told}"


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(
        UserError, match="names the database 'postgresql\\+psycopg2', whose Python module 'psycopg2' is not"
    ):
        check_url("postgresql+psycopg2://me:secret@host/name")


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"]
)
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="which keeps nothing: name a file"):
        check_url(url)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("none/study.db", "there is no directory .*/none"),
        ("folder", "folder is a directory"),
        ("text", "not a database"),
    ],
)
def test_a_file_that_cannot_be_is_told(tmp_path: Path, place: str, told: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("not a database, but long enough to be taken for one" * 40)
    with pytest.raises(
        UserError, match=rf"^'search.storage' sqlite:///{tmp_path}/{place} cannot be reached: .*{told}\.$"
    ):
        check_url(f"sqlite:///{tmp_path}/{place}")


@pytest.mark.parametrize(
    ("url", "resolved"),
    [
        ("sqlite:///study.db", "sqlite:////base/study.db"),
        ("sqlite:///../study.db", "sqlite:////study.db"),
        ("sqlite+pysqlite:///a b/study.db?timeout=9", "sqlite+pysqlite:////base/a b/study.db?timeout=9"),
        ("sqlite:////there/study.db", "sqlite:////there/study.db"),
        ("sqlite:///file:study.db?uri=true", "sqlite:///file%3A/base/study.db?uri=true"),
        ("postgresql://me:se%40cret@host/name", "postgresql://me:se%40cret@host/name"),
    ],
)
def test_paths_of_sqlite_are_made_absolute(url: str, resolved: str) -> None:
    assert resolve_url(url, Path("/base")) == resolved
    assert resolve_url(resolved, Path("/elsewhere")) == resolved


@pytest.mark.parametrize("name", ["a b", "100%25", "what?", "a#b"])
def test_a_directory_with_an_odd_name_is_found_again(name: str) -> None:
    resolved = resolve_url("sqlite:///study.db", Path("/") / name)
    assert sqlite_path(resolved) == Path("/") / name / "study.db"
    assert resolve_url(resolved, Path("/elsewhere")) == resolved


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host:5432/name", "postgresql://me:***@host:5432/name"),
        ("postgresql://host/name?user=me&password=secret", "postgresql://host/name"),
        ("postgresql//me:secret@host/name", "postgresql//me:…@host/name"),
        ("postgresql://me:sec@ret:x@host:port/name", "postgresql:…@host:port/name"),
        ("sqlite:///study.db", "sqlite:///study.db"),
        ("study.db", "study.db"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown
