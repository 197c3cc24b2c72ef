"""What the driver does when a trial reports: export what is finished, show progress, draw curves."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import TrialState
from ray import tune
from ray.tune.experiment import Trial

from dp_core.files import replacing_directory
from search.progress import Progress
from search.run_directory import RunDirectory
from search.study.record import StudyRecord
from search.study.strata import source_of
from search.study.trials import rounds_of
from search.tensorboard import TensorBoardLog
from search.tune_parts import failure_of, row_of
from trainables import Candidate


class ScreeningMonitor(tune.Callback):
    """Exports the ticket of a finished trial before the study hears of it; prints a line for every end."""

    def __init__(
        self, run: RunDirectory, record: StudyRecord, board: TensorBoardLog, progress: Progress, classes: int
    ) -> None:
        self._run = run
        self._record = record
        self._board = board
        self._progress = progress
        self._classes = classes

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune has no use for it, see _NotSaved."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Open the trial's TensorBoard session."""
        number = trial.config["trial"]
        self._board.trial_started(number, self._record.trials()[number].params)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Draw the round."""
        self._board.round_finished(trial.config["trial"], row_of(result))

    def on_checkpoint(self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **info: Any) -> None:
        """Copy the ticket out of the last checkpoint."""
        if trial.last_result.get("status") == "finished":
            export(checkpoint, "ticket", self._run.ticket(trial.config["trial"]))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Report the end."""
        self._ended(trial.config["trial"])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Report the failure."""
        self._ended(trial.config["trial"])

    def _ended(self, number: int) -> None:
        frozen = self._record.trials()[number]
        rows = rounds_of(frozen)
        reason = frozen.user_attrs.get("reason")
        self._board.trial_ended(number, frozen.state.name, reason, rows[-1] if rows else None)
        ended = self._record.trials(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        rivals = [trial for trial in self._record.trials(TrialState.COMPLETE) if source_of(trial) == source_of(frozen)]
        best = max((trial.value for trial in rivals if trial.value is not None), default=None)
        candidate = Candidate.parse(frozen.user_attrs["candidate"], self._classes)
        self._progress.say(
            "screening",
            f"{len(ended)}/{self._record.target} trial {number} {_WORDS[frozen.state]}: {_outcome(rows)}"
            + (f" ({reason})" if reason and not reason.startswith("stopped early") else "")
            + f", {candidate.model.label()} on {candidate.data_key}"
            + (f"; best score on {candidate.source} {best:.3f}" if best is not None else ""),
        )


def _outcome(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "no round"
    last = rows[-1]
    error = last.get("proxy_accuracy_sem")
    proxy = f"{last['proxy_accuracy']:.1%}" + (f" ± {error:.1%}" if error is not None else "")
    return f"round {last['round']}, proxy {proxy} at sparsity {last['sparsity']:.1%}"


_WORDS = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "stopped early", TrialState.FAIL: "failed"}


class RetrainingMonitor(tune.Callback):
    """Exports every retrained model as soon as it is done; prints progress by epoch."""

    def __init__(self, run: RunDirectory, board: TensorBoardLog, progress: Progress, total_epochs: int) -> None:
        self._run = run
        self._board = board
        self._progress = progress
        self._total_epochs = total_epochs
        self.failures: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune has no use for it, see _NotSaved."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Draw the epoch and print it now and then."""
        name = _model_name(trial)
        row = {key: result[key] for key in ("train_loss", "validation_accuracy", "learning_rate", "seconds")}
        self._board.epoch_finished(name, result["epoch"], row)
        done = sum(other.last_result.get("epoch", 0) for other in trials if other is not trial) + result["epoch"]
        self._progress.step(
            "retraining",
            done,
            self._total_epochs,
            f"epochs, {name}: validation {result['validation_accuracy']:.1%}",
        )

    def on_checkpoint(self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **info: Any) -> None:
        """Copy the model out of the last checkpoint."""
        if trial.last_result.get("status") == "finished":
            job = trial.config["job"]
            export(checkpoint, "model", self._run.model(job["trial"], job["seed"]))
            self._board.model_ended(_model_name(trial), trial.last_result["test_accuracy"])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note a divergence."""
        if trial.last_result.get("status") == "diverged":
            self.failures[_model_name(trial)] = trial.last_result["reason"]

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note the failure."""
        self.failures[_model_name(trial)] = failure_of(trial)


def export(checkpoint: tune.Checkpoint, part: str, target: Path) -> None:
    """Copy the folder `part` of a checkpoint, wherever it is stored, to `target`, all of it or nothing."""
    with checkpoint.as_directory() as folder, replacing_directory(target) as temporary:
        shutil.copytree(Path(folder) / part, temporary, dirs_exist_ok=True)


def _model_name(trial: Trial) -> str:
    return f"{trial.config['job']['trial']:05d}-seed{trial.config['job']['seed']}"
