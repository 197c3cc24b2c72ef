"""Settings of Ray that it reads once, when it is first imported."""

from __future__ import annotations

import os

_SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    # A trial without GPUs of its own sees none, and so runs on the CPU.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "RAY_LOG_TO_DRIVER": "0",
    # A trial's traceback is beside its checkpoints; the run prints one line.
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Tune's older output engine is the one that can be silent.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Winnow records trials itself: in the study, in Parquet and in TensorBoard.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # Ctrl-C is Winnow's to handle: the study has everything, so nothing has to be saved first.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}


def prepare_environment() -> None:
    """Set what Ray reads from the environment; a value the user has set wins. Call it before Ray is imported."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
