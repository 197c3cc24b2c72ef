"""Starting Ray on this machine, or joining a cluster that runs."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import ray

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
        on_termination = signal.getsignal(signal.SIGTERM)
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        logging.getLogger("ray.train").setLevel(logging.ERROR)
        _connect(address, cpus, folder)
        if on_termination is not None and threading.current_thread() is threading.main_thread():
            # Ray puts a handler of its own in place, which would end the process without a word.
            signal.signal(signal.SIGTERM, on_termination)
        try:
            yield
        finally:
            ray.shutdown()


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
