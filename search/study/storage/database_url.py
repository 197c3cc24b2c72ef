"""Database URLs as users write them: what is wrong with one, where a file of SQLite is, what may be shown of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import sqlalchemy
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from dp_core.errors import UserError, nearest
from search.output.wording import show

_KEY = "search.storage"
_DATABASES = ("sqlite", "postgresql", "mysql", "mariadb", "oracle", "mssql")
# A host that swallows packets would otherwise hold the user up for minutes. Each driver has its own word for it.
_PATIENCE = {"psycopg": "connect_timeout", "psycopg2": "connect_timeout", "pymysql": "connect_timeout"}
_SECONDS = 10


def check_url(url: str) -> None:
    """See to it that a study can be kept at `url`; nothing is made there yet.

    Raises:
        UserError: the URL is malformed, its database unknown, its driver not installed, or it cannot be reached.
    """
    parsed = parse_url(url)
    engine = _engine(parsed)
    path = sqlite_path(url)
    if path is not None:
        _check_path(url, path)
    if path is not None and not path.exists():
        return
    try:
        with engine.connect() as connection:
            if path is not None:
                connection.exec_driver_sql("PRAGMA schema_version")
    except SQLAlchemyError as error:
        raise UserError(f"'{_KEY}' {shown_url(url)} cannot be reached: {reason_of_error(error, url)}.") from error
    finally:
        engine.dispose()


def resolve_url(url: str, base: Path) -> str:
    """Return `url` with the path of a SQLite file made absolute, relative ones counting from `base`.

    Raises:
        UserError: the URL is malformed.
    """
    path = sqlite_path(url)
    if path is None:
        return url
    prefix = "file:" if str(parse_url(url).database).startswith("file:") else ""
    absolute = os.path.abspath(base / path)
    return parse_url(url).set(database=prefix + absolute).render_as_string(hide_password=False)


def parse_url(url: str) -> URL:
    """Return the parts of a URL.

    Raises:
        UserError: it has not the form of a database URL, or names a database that lives in memory.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise UserError(
            f"'{_KEY}' is {show(shown_url(url))}, which is no database URL such as sqlite:///study.db or "
            "postgresql://user@host/name."
        ) from error
    if parsed.get_backend_name() == "sqlite" and _in_memory(parsed):
        raise UserError(
            f"'{_KEY}' is {show(shown_url(url))}, which keeps nothing: name a file, as in sqlite:///study.db."
        )
    return parsed


def sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL, None for any other database."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    return Path(str(parsed.database).removeprefix("file:")).expanduser()


def shown_url(url: str) -> str:
    """Return `url` as it may be shown: without its password, and without options, where some drivers take one."""
    try:
        return make_url(url).set(query={}).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        # Where the password is cannot be told, but all of it is before the last @.
        head, at, tail = url.split("?")[0].rpartition("@")
        return f"{head.partition(':')[0]}:…@{tail}" if at else tail


def reason_of_error(error: SQLAlchemyError, url: str) -> str:
    """Return the first line of what a driver said, without the URL's password and without a full stop."""
    said = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
    secrets = [make_url(url).password, *map(str, make_url(url).query.values())]
    line = said[0]
    for secret in secrets:
        line = line.replace(str(secret), "***") if secret else line
    return re.sub(r"\s+", " ", line).rstrip(" .:")


def _in_memory(url: URL) -> bool:
    name = url.database or ""
    return name in ("", "file:") or ":memory:" in name or url.query.get("mode") == "memory"


def _engine(url: URL) -> sqlalchemy.Engine:
    """Return an engine for a URL, or raise a UserError if there is no such database or no driver for it."""
    patience = _PATIENCE.get(url.drivername.partition("+")[2] or _default_driver(url))
    arguments = {patience: _SECONDS} if patience and patience not in url.query else {}
    try:
        engine = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args=arguments)
    except NoSuchModuleError as error:
        raise UserError(
            f"'{_KEY}' names the database '{url.drivername}', which is unknown."
            f"{nearest(url.get_backend_name(), _DATABASES)}"
        ) from error
    except ImportError as error:
        raise UserError(
            f"'{_KEY}' names the database '{url.drivername}', whose Python module '{error.name}' is not installed."
        ) from error
    if engine.dialect.is_async:
        raise UserError(f"'{_KEY}' names the driver '{url.drivername}', which is asynchronous; Optuna needs another.")
    return engine


def _default_driver(url: URL) -> str:
    try:
        return str(url.get_dialect().driver)
    except NoSuchModuleError:
        return ""


def _check_path(url: str, path: Path) -> None:
    """Raise a UserError if there cannot be a file at `path`."""
    if path.is_dir():
        raise UserError(f"'{_KEY}' {shown_url(url)} cannot be reached: {path} is a directory.")
    if not path.parent.is_dir():
        raise UserError(f"'{_KEY}' {shown_url(url)} cannot be reached: there is no directory {path.parent}.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"'{_KEY}' {shown_url(url)} cannot be reached: {path} cannot be written.")
