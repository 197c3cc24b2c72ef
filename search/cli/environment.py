"""Settings of Ray that it reads once, when it is first imported."""

from __future__ import annotations

import os

_SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Of each worker that is lost Ray would print half a page; Winnow says what has become of the trial.
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed|worker processes have been started",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    # A trial without GPUs of its own sees none, and so runs on the CPU.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "RAY_LOG_TO_DRIVER": "0",
    # The run prints one line.
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


def prepare_environment() -> None:
    """Set what Ray reads from the environment; a value the user has set wins. Call it before Ray is imported."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
