"""The study in a database of Optuna's: SQLite, PostgreSQL or whatever else SQLAlchemy reaches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from dp_core.errors import UserError
from search.study.storage.database_url import parse_url, reason_of_error, shown_url, sqlite_path
from search.study.storage.medium import Medium

# As SQLite, PostgreSQL and MySQL say it.
_FULL = re.compile(r"disk is full|no space left|quota exceeded|table .* is full", re.IGNORECASE)
_BROKEN = re.compile(r"malformed|not a database", re.IGNORECASE)
_LOCK_SECONDS = 60
"""How long SQLite waits for someone who reads or writes the file at the same time."""


def open_database(url: str) -> Medium:
    """Open a database, making Optuna's tables if they are not there.

    Raises:
        UserError: it is damaged, has no room, cannot be reached, or was made by another version of Optuna.
    """
    with reading_database(url):
        _check_pages(url)
        storage = _connected(url)
        if sqlite_path(url) is not None:
            _log_ahead(storage)
    trials = sqlalchemy.table("trials", sqlalchemy.column("trial_id"), sqlalchemy.column("number"))

    def number_of(trial_id: int) -> int:
        # Optuna would read all of the trial for it.
        with storage.engine.connect() as connection:
            query = sqlalchemy.select(trials.c.number).where(trials.c.trial_id == trial_id)
            return int(connection.execute(query).scalar_one())

    def has_ended(trial_id: int) -> bool:
        # What is set of an ended trial is refused with UpdateFinishedTrialError, before anything is written.
        return False

    def close() -> None:
        storage.remove_session()
        storage.engine.dispose()

    return Medium(
        storage,
        together=lambda: _together(storage),
        reading=lambda: reading_database(url),
        writing=lambda: _writing(url),
        number_of=number_of,
        has_ended=has_ended,
        close=close,
        notes=(),
    )


def read_database(url: str, name: str) -> RDBStorage | None:
    """Return a database to read the study `name` from; None where there is no such study, and nothing is made.

    Raises:
        UserError: it is damaged, cannot be reached, or was made by another version of Optuna.
    """
    if not exists(url, name):
        return None
    with reading_database(url):
        return _connected(url, skip_table_creation=True)


def exists(url: str, name: str) -> bool:
    """Return whether a database has a study of this name; a file of SQLite that is not there is not made.

    Raises:
        UserError: it is damaged or cannot be reached.
    """
    path = sqlite_path(url)
    if path is not None and not path.exists():
        return False
    studies = sqlalchemy.table("studies", sqlalchemy.column("study_name"))
    with reading_database(url), _passing(url) as connection:
        if not sqlalchemy.inspect(connection).has_table("studies"):
            return False
        query = sqlalchemy.select(studies.c.study_name).where(studies.c.study_name == name)
        return connection.execute(query).first() is not None


@contextmanager
def reading_database(url: str) -> Iterator[None]:
    """Make trouble with a database, and what Optuna cannot read in it, a UserError that never shows its password."""
    try:
        with _writing(url):
            yield
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"The study database {shown_url(url)} is damaged: {said}.") from error


@contextmanager
def _writing(url: str) -> Iterator[None]:
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        said = reason_of_error(cause, url) if isinstance(cause, SQLAlchemyError) else str(error)
        if _FULL.search(said):
            raise UserError(f"There is no room left on the disk for {shown_url(url)}.") from error
        trouble = "is damaged" if _BROKEN.search(said) else "cannot be used"
        raise UserError(f"The study database {shown_url(url)} {trouble}: {said}.") from error


def _connected(url: str, **settings: Any) -> RDBStorage:
    arguments = {"connect_args": {"timeout": _LOCK_SECONDS}} if sqlite_path(url) is not None else {}
    # Optuna fills in its schema's version where a URL has {SCHEMA_VERSION}; a brace in ours is a brace.
    literal = url.replace("{", "{{").replace("}", "}}")
    try:
        return RDBStorage(literal, engine_kwargs=arguments, **settings)
    except RuntimeError as error:
        raise UserError(
            f"The study database {shown_url(url)} has the tables of another version of Optuna; "
            "`optuna storage upgrade` brings older ones up to date."
        ) from error


def _check_pages(url: str) -> None:
    path = sqlite_path(url)
    if path is None or not path.exists():
        return
    with _passing(url) as connection:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise UserError(f"The study database {shown_url(url)} is damaged: {' '.join(str(found).split())}.")


def _log_ahead(storage: RDBStorage) -> None:
    """Have SQLite flush the disk once a transaction, not thrice, and let readers read meanwhile; stock Optuna can too.

    `synchronous` stays at FULL, SQLite's own default: a transaction that was committed outlasts a loss of power.
    """
    # File systems without shared memory keep what they have.
    with suppress(OperationalError, DatabaseError), storage.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")


@contextmanager
def _passing(url: str) -> Iterator[sqlalchemy.Connection]:
    """Connect for as long as the context lasts, outside of Optuna."""
    engine = sqlalchemy.create_engine(parse_url(url), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _together(storage: RDBStorage) -> Iterator[None]:
    """Make one transaction of what is set in this context: Optuna commits each attribute by itself, with a flush."""
    own = storage.scoped_session
    with storage.engine.begin() as connection:
        # The way SQLAlchemy gives for it: sessions that join a transaction which is not theirs to commit.
        storage.scoped_session = scoped_session(sessionmaker(bind=connection, join_transaction_mode="rollback_only"))
        try:
            yield
        finally:
            storage.scoped_session.remove()
            storage.scoped_session = own
