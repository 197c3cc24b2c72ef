"""Torch's compiler, set up for many short-lived processes on one machine."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import get_num_threads

from dp_core.files import digest_of_json
from dp_core.kernels import cache_folder, cpu_facts

# Compiled networks share code objects (`ConvNet.forward`), of which torch compiles 8 variants and then no more. A
# process that is used for many trials has as many architectures.
_VARIANTS = 256


def compiling_is_off() -> bool:
    """Return whether the user has turned compiling off, by `WINNOW_COMPILE=0`."""
    return os.environ.get("WINNOW_COMPILE") == "0"


@contextmanager
def compiler_settings() -> Iterator[None]:
    """Compile as Winnow does: into the shared cache, in this process, and with room for many architectures."""
    _share_cache()
    from torch._dynamo import config as dynamo
    from torch._inductor import config as inductor

    with ExitStack() as stack:
        # One variant too many is an error and not a network that is silently executed as it is.
        limits = {"recompile_limit": _VARIANTS, "fail_on_recompile_limit_hit": True, "suppress_errors": False}
        stack.enter_context(dynamo.patch(limits))
        # Generated code holds the number of threads; here it becomes part of the cache's keys in every torch release.
        settings = {"fx_graph_cache": True, "cpp.threads": get_num_threads()}
        if "TORCHINDUCTOR_COMPILE_THREADS" not in os.environ:
            settings["compile_threads"] = 1  # else every trial starts a pool of processes that stay
        stack.enter_context(inductor.patch(settings))
        yield


def _share_cache() -> None:
    """Let torch keep compiled code where all of Winnow's processes find it, unless the user has named a place.

    There is a folder for each kind of processor, as machines may share a home.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    # On import, which comes with the first optimiser, torch writes its own choice where the user's would be.
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR", default_cache_dir()) != default_cache_dir():
        return
    try:
        folder = cache_folder().parent / "inductor" / digest_of_json(cpu_facts())[:16]
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return
    if os.access(folder, os.W_OK):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Keep back what torch warns of and logs while it compiles, unless the user has asked for torch's logs."""
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith("torch")]
    handlers = {handler for logger in loggers for handler in logger.handlers}
    if "TORCH_LOGS" in os.environ:
        handlers = set()
    for handler in handlers:
        handler.addFilter(_nothing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False
