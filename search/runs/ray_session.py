"""Starting Ray on this machine, or joining a cluster that runs."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import ray
from ray._private import ray_constants, utils

from dp_core.errors import UserError
from search.runs.ray_folder import ray_folder


@contextmanager
def ray_session(address: str | None, cpus: int) -> Iterator[None]:
    """Connect to the cluster at `address`, or start Ray here with `cpus` CPUs; leave or stop it in the end.

    Raises:
        UserError: no cluster answers at `address`, or Ray cannot be started.
    """
    if address is not None:
        _check_reachable(address)
    with nullcontext() if address is not None else ray_folder() as folder:
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        logging.getLogger("ray.train").setLevel(logging.ERROR)
        try:
            with _signals_deferred(), _signals_left_alone():
                _connect(address, cpus, folder)
            yield
        finally:
            ray.shutdown()


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """Handle Ctrl-C and SIGTERM at the end of the block, as a half-started Ray crashes; a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in found.items() if handler is not None}  # None: not Python's own
    received: list[int] = []

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def defer(number: int, frame: Any) -> None:
        received.append(number)
        restore()

    for number in handlers:
        signal.signal(number, defer)
    try:
        yield
    finally:
        restore()
        for arrived in received:
            signal.raise_signal(arrived)


@contextmanager
def _signals_left_alone() -> Iterator[None]:
    """Keep Ray from handling the signals of this process, and its processes from having those of our process group.

    Its own handlers, in Python and in C++, would end this process without a word. What is sent to a process group, as
    by a terminal or `timeout`, would end Ray's server while this process still needs it.
    """
    end_with_parent: Callable[[], None] = utils.set_kill_on_parent_death_linux

    def end_with_parent_only() -> None:
        os.setpgid(0, 0)
        end_with_parent()

    with (
        patch.object(utils, "set_sigterm_handler", lambda handler: None),
        patch.object(utils, "set_kill_on_parent_death_linux", end_with_parent_only),
        patch.object(ray_constants, "RAY_DISABLE_FAILURE_SIGNAL_HANDLER", new=True),
    ):
        yield


def _connect(address: str | None, cpus: int, folder: Path | None) -> None:
    try:
        if address is None:
            # "local": never a cluster that happens to run on this machine, nor RAY_ADDRESS.
            ray.init(
                "local",
                num_cpus=cpus,
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
                _temp_dir=str(folder),
            )
        else:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = "here" if address is None else f"at {address}"
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"Ray cannot be reached {where}: {first_line}.") from error


def _check_reachable(address: str) -> None:
    """Raise UserError unless something listens at host:port; Ray itself would try for minutes."""
    host, separator, port = address.rpartition(":")
    if "://" in address or address == "auto":
        return
    if not separator or not port.isdigit():
        raise UserError(f"The address '{address}' is not host:port, such as 10.0.0.5:6379, nor 'auto'.")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"No Ray cluster answers at {address}: {error}.") from error
