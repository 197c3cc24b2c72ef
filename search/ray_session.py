"""Starting Ray on this machine, or joining a cluster that runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from dp_core.errors import UserError


@contextmanager
def ray_session(address: str | None, cpus: int) -> Iterator[None]:
    """Connect to the cluster at `address`, or start Ray here with `cpus` CPUs; leave or stop it in the end.

    Raises:
        UserError: no cluster answers at `address`.
    """
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    try:
        if address is None:
            # "local": never a cluster that happens to run on this machine, nor RAY_ADDRESS.
            ray.init("local", num_cpus=cpus, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
        else:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = "here" if address is None else f"at {address}"
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"Ray cannot be reached {where}: {first_line}.") from error
    try:
        yield
    finally:
        ray.shutdown()
