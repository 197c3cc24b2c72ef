"""What TensorBoard shows of a search: screening over rounds, retraining over epochs, hyperparameters with true ends.

Two habits of TensorBoard 2.21 shape this file. Steps within a run must grow (see `EventRun`); and it keeps only the
first description that a run gives of its hyperparameters, so a session's end is written once, when it is final.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from torch.utils.tensorboard.summary import text

from search.output.event_run import EventRun

Scalar = bool | int | float | str | None

# TensorBoard knows success, failure and unknown, and no "aborted": a trial stopped early is neither of the first two.
_STATUS = {
    "finished": api_pb2.STATUS_SUCCESS,
    "failed": api_pb2.STATUS_FAILURE,
    "stopped early": api_pb2.STATUS_UNKNOWN,
    "collapsed": api_pb2.STATUS_UNKNOWN,
}
_BEST = "best_score/"
_METRICS = ("proxy_accuracy", "score", "sparsity", "parameters_left", "flops_remaining", "seconds")
_KEYS = frozenset({"trial", "round", "rung_round", "epoch"})


class TensorBoardLog:
    """The TensorBoard directory of one search, written by the driver alone.

    Runs: `screening/all` (every trial's final values, at step = number of trials ended so far, since trials do not end
    in the order of their numbers), `screening/trial-00012` (step = round; only trials numbered below
    `detailed_trials`, because TensorBoard is sluggish past some 250 runs) and `retraining/<model>` (step = epoch).

    On a directory that an interrupted search left, runs are continued: rounds or epochs that are run again replace
    those written before, and trials that had ended are counted once.

    Args:
        directory: where the event files go; need not exist.
        parameters: name and type (bool, int, float or str) of every searched parameter, conditional ones included.
            It becomes the HParams experiment summary; without it TensorBoard gathers the names from the trials.
        detailed_trials: how many trials get a run, and a row in HParams, of their own.
    """

    def __init__(
        self, directory: Path, parameters: Mapping[str, type] | None = None, detailed_trials: int = 100
    ) -> None:
        self._directory = directory
        self._detailed_trials = detailed_trials
        self._runs: dict[str, EventRun] = {}
        self._ended, self._counts, self._best = _ended_before(directory / "screening" / "all")
        if parameters:
            self._run("screening/all").add(_experiment(parameters))

    def trial_started(self, trial: int, params: Mapping[str, Scalar]) -> None:
        """Open the trial's run and HParams session; None values are left out."""
        if trial < self._detailed_trials:
            self._run(_name(trial)).add(_session_start(_name(trial), params))

    def round_finished(self, trial: int, row: Mapping[str, object]) -> None:
        """Add one row of the rounds table to the trial's curves, at step = `row["round"]`."""
        if trial < self._detailed_trials:
            self._run(_name(trial)).add(_scalars(row), _step(row, "round"))

    def trial_ended(self, trial: int, outcome: str, reason: str | None, row: Mapping[str, object] | None) -> None:
        """Close the trial's session by its outcome (see `outcome_of`) and add its last `row` to `screening/all`.

        The session's status is success, failure or, for what was stopped early or has collapsed, unknown. The best
        scores, one for each fidelity, are over finished trials, since a trial stopped early was scored at another
        sparsity. A trial that ended before a resume is ignored.
        """
        status = _STATUS[outcome]
        if trial not in self._ended:
            self._ended.add(trial)
            self._counts[outcome] += 1
            if trial < self._detailed_trials:
                ending = outcome if reason is None or reason.startswith(outcome) else f"{outcome}: {reason}"
                self._run(_name(trial)).add(text("state", ending))
                self._run(_name(trial)).add(_session_end(status))
            self._run("screening/all").add(self._totals(trial, outcome, row or {}), len(self._ended))
        self._close(_name(trial))

    def epoch_finished(self, model: str, epoch: int, row: Mapping[str, object]) -> None:
        """Add one epoch of retraining `model`: the numbers in `row`, at step = `epoch`."""
        self._run(f"retraining/{model}").add(_scalars(row), epoch)

    def model_ended(self, model: str, test_accuracy: float) -> None:
        """Add the retrained model's test accuracy (a fraction) after its last epoch, and close its run."""
        self._run(f"retraining/{model}").add(_scalars({"test_accuracy": test_accuracy}))
        self._close(f"retraining/{model}")

    def close(self) -> None:
        """Write out and close every run; unfinished sessions stay open, so that a resumed search can end them."""
        for name in list(self._runs):
            self._close(name)

    def _run(self, name: str) -> EventRun:
        if name not in self._runs:
            self._runs[name] = EventRun(self._directory / name)
        return self._runs[name]

    def _close(self, name: str) -> None:
        run = self._runs.pop(name, None)
        if run is not None:
            run.close()

    def _totals(self, trial: int, outcome: str, row: Mapping[str, object]) -> Summary:
        score = row.get("score")
        if outcome == "finished" and isinstance(score, int | float) and math.isfinite(score):
            scale = str(row.get("fidelity"))
            self._best[scale] = max(self._best.get(scale, score), score)
        looked = row.get("proxy_accuracy") is not None  # else its score is a zero-cost one, on another scale
        final = row if looked else {}
        values: dict[str, object] = {f"final/{name}": value for name, value in final.items() if name not in _KEYS}
        values |= {f"trials/{name.replace(' ', '_')}": self._counts[name] for name in _STATUS}
        values |= {f"{_BEST}{scale}": best for scale, best in self._best.items()}
        return _scalars({**values, "trial_number": trial})


def _name(trial: int) -> str:
    return f"screening/trial-{trial:05d}"


def _step(row: Mapping[str, object], key: str) -> int:
    step = row[key]
    if not isinstance(step, int):
        raise TypeError(f"{key} must be an int, not {step!r}")
    return step


def _scalars(row: Mapping[str, object]) -> Summary:
    numbers = {name: value for name, value in row.items() if name not in _KEYS and _is_drawn(value)}
    return Summary(value=[Summary.Value(tag=name, simple_value=float(value)) for name, value in numbers.items()])


def _is_drawn(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a number: a NaN is what a rung has not measured, such as accuracy at zero cost."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _ended_before(directory: Path) -> tuple[set[int], Counter[str], dict[str, float]]:
    """Return the trials that `screening/all` says have ended, how many each way, and the best score by fidelity."""
    if not any(directory.glob("events.out.tfevents.*")):
        return set(), Counter(), {}
    events = EventAccumulator(str(directory), size_guidance={SCALARS: 0})
    events.Reload()
    known = events.Tags()[SCALARS]
    series = {name: [event.value for event in events.Scalars(name)] for name in known}
    ended = {int(trial) for trial in series.get("trial_number", [])}
    counts = Counter({name: int(max(series.get(f"trials/{name.replace(' ', '_')}", [0]))) for name in _STATUS})
    best = {name.removeprefix(_BEST): max(values) for name, values in series.items() if name.startswith(_BEST)}
    return ended, counts, best


def _experiment(parameters: Mapping[str, type]) -> Summary:
    kinds = {bool: api_pb2.DATA_TYPE_BOOL, int: api_pb2.DATA_TYPE_FLOAT64, float: api_pb2.DATA_TYPE_FLOAT64}
    columns = [
        api_pb2.HParamInfo(name=name, type=kinds.get(kind, api_pb2.DATA_TYPE_STRING))
        for name, kind in parameters.items()
    ]
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in _METRICS]
    experiment = api_pb2.Experiment(hparam_infos=columns, metric_infos=metrics, time_created_secs=time.time())
    return _hparams(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment))


def _session_start(name: str, params: Mapping[str, Scalar]) -> Summary:
    start = SessionStartInfo(group_name=name, start_time_secs=time.time())
    for key, value in params.items():
        if isinstance(value, bool):
            start.hparams[key].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[key].number_value = value
        elif value is not None:
            start.hparams[key].string_value = str(value)
    return _hparams(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start))


def _session_end(status: int) -> Summary:
    end = SessionEndInfo(status=status, end_time_secs=time.time())
    return _hparams(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))


def _hparams(tag: str, data: HParamsPluginData) -> Summary:
    described = metadata.create_summary_metadata(data)
    return Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)])
