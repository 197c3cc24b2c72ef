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

from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from torch.utils.tensorboard.summary import text

from search.output.event_run import EventRun
from trainables.screening.round import Round

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

    def round_finished(self, trial: int, found: Round) -> None:
        """Add a round to the trial's curves, at step = its number."""
        if trial < self._detailed_trials:
            self._run(_name(trial)).add(_scalars(found.curves()), found.round)

    def trial_ended(self, trial: int, outcome: str, reason: str | None, last: Round | None) -> None:
        """Close the trial's session by its outcome (see `outcome_of`) and add its `last` round to `screening/all`.

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
            self._run("screening/all").add(self._totals(trial, outcome, last), len(self._ended))
        self._close(_name(trial))

    def epoch_finished(self, model: str, epoch: int, curves: Mapping[str, float]) -> None:
        """Add one epoch of retraining `model`, at step = `epoch`."""
        self._run(f"retraining/{model}").add(_scalars(curves), epoch)

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

    def _totals(self, trial: int, outcome: str, last: Round | None) -> Summary:
        if outcome == "finished" and last is not None and math.isfinite(last.score):
            self._best[last.fidelity] = max(self._best.get(last.fidelity, last.score), last.score)
        # Without an accuracy its score is a zero-cost one, on another scale.
        final = last.curves() if last is not None and last.has_accuracy else {}
        values = {f"final/{name}": value for name, value in final.items()}
        values |= {f"trials/{name.replace(' ', '_')}": self._counts[name] for name in _STATUS}
        values |= {f"{_BEST}{scale}": best for scale, best in self._best.items()}
        return _scalars({**values, "trial_number": trial})


def _name(trial: int) -> str:
    return f"screening/trial-{trial:05d}"


def _scalars(values: Mapping[str, float]) -> Summary:
    drawn = {tag: value for tag, value in values.items() if not math.isnan(value)}
    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in drawn.items()])


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
