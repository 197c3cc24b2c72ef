"""What the driver does when a trial reports: export what is finished, show progress, draw curves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from dp_core.files import replacing_directory, room_for, write_text
from search.output.prunable import prunable_of
from search.pipeline.bad_ends import BadEnd, BadEnds
from search.pipeline.tensorboard import TensorBoardLog
from search.runs.directory import RunDirectory
from search.runs.progress import Progress, Throttle
from search.study.ends import End
from search.study.record import StudyRecord
from search.study.trials import outcome_of
from search.tune.lost_workers import NotSaved, PatientScheduler
from trainables.screening.round import Round


class ScreeningMonitor(NotSaved, tune.Callback):
    """Exports the ticket of a finished trial before the study hears of it; prints a line for every end."""

    def __init__(
        self,
        run: RunDirectory,
        record: StudyRecord,
        scheduler: PatientScheduler,
        board: TensorBoardLog,
        progress: Progress,
    ) -> None:
        self._run = run
        self._record = record
        self._scheduler = scheduler
        self._board = board
        self._progress = progress
        self._throttle = Throttle()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Open the trial's TensorBoard session."""
        self._scheduler.sign_of_life(trial)
        number = trial.config["trial"]
        with self._record.halting(), room_for(self._run.tensorboard):
            self._board.trial_started(number, self._record.running(number).params)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Draw the round, and pass on what the trial has to say."""
        number = trial.config["trial"]
        if result.get("note"):
            self._progress.say("screening", f"trial {number}: {result['note']}")
        with self._record.halting():
            if result.get("status") != "failed":
                with room_for(self._run.tensorboard):
                    self._board.round_finished(number, Round.from_row(result))
            elif result.get("traceback"):
                path = self._run.error(number)
                with room_for(path):
                    write_text(path, result["traceback"])

    def on_checkpoint(self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **info: Any) -> None:
        """Copy the ticket out of the last checkpoint."""
        if trial.last_result.get("status") == "finished":
            target = self._run.ticket(trial.config["trial"])
            with self._record.halting(), room_for(target):
                export(checkpoint, "ticket", target)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Report the end."""
        self._ended(trial.config["trial"])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Report the failure."""
        self._ended(trial.config["trial"])

    def _ended(self, number: int) -> None:
        end = self._record.end_of(number)
        if end is None:
            return  # the run has been halted, and the trial will be taken up again
        with self._record.halting(), room_for(self._run.tensorboard):
            self._board.trial_ended(number, outcome_of(end.state, end.reason), end.reason, end.last)
        if self._throttle.passes() or self._record.unfinished == 0:
            self._progress.say("screening", self._line(end, self._throttle.told()))

    def _line(self, end: End, untold: int) -> str:
        reason, outcome = end.reason, outcome_of(end.state, end.reason)
        return (
            f"{self._record.ended}/{self._record.target} trial {end.number} {outcome}: {_outcome(end.last)}"
            + (f" ({reason})" if reason and not reason.startswith("stopped early") else "")
            + f", {end.candidate.model.label()} on {end.candidate.data_key}"
            + (f"; best {end.objective} on {end.scale} {end.best:,.4g}" if end.best is not None else "")
            + (f" (and {untold} more)" if untold else "")
        )


def _outcome(last: Round | None) -> str:
    if last is None:
        return "no round"
    if not last.has_accuracy:
        return f"{last.fidelity} {last.score:.4g}"
    error, told = last.proxy_accuracy_sem, prunable_of(last.to_row())
    proxy = f"{last.proxy_accuracy:.1%}" + (f" ± {error:.1%}" if error is not None else "")
    about = "" if told is None else f" ({told} parameters prunable)"
    return f"round {last.round}, proxy {proxy} at sparsity {last.sparsity:.1%}{about}"


class RetrainingMonitor(NotSaved, tune.Callback):
    """Exports every retrained model as soon as it is done; prints progress by epoch."""

    def __init__(
        self,
        run: RunDirectory,
        scheduler: PatientScheduler,
        ends: BadEnds,
        board: TensorBoardLog,
        progress: Progress,
        total_epochs: int,
    ) -> None:
        self._run = run
        self._scheduler = scheduler
        self._ends = ends
        self._board = board
        self._progress = progress
        self._total_epochs = total_epochs
        self._epochs: dict[str, int] = {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note that the training has begun."""
        self._scheduler.sign_of_life(trial)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Draw the epoch and print it now and then."""
        name = model_name(trial)
        if result.get("note"):
            self._progress.say("retraining", f"{name}: {result['note']}")
        if result.get("status") == "failed":
            return
        row = {key: result[key] for key in ("train_loss", "validation_accuracy", "learning_rate", "seconds")}
        with self._scheduler.heeding_room(self._run.tensorboard):
            self._board.epoch_finished(name, result["epoch"], row)
        self._epochs[name] = result["epoch"]
        self._progress.step(
            "retraining",
            sum(self._epochs.values()),
            self._total_epochs,
            f"epochs, {name}: validation {result['validation_accuracy']:.1%}",
        )

    def on_checkpoint(self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **info: Any) -> None:
        """Copy the model out of the last checkpoint."""
        if trial.last_result.get("status") == "finished":
            target = self._run.model(model_name(trial))
            with self._scheduler.heeding_room(target):
                export(checkpoint, "model", target)
                self._board.model_ended(model_name(trial), trial.last_result["test_accuracy"])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note a bad end, which would be the same another time."""
        result = trial.last_result
        if result.get("status") in ("diverged", "failed"):
            end = BadEnd(trial.config["job"]["trial"], result["status"], result["reason"], model_name(trial))
            with self._scheduler.heeding_room(self._run.path):
                keep_bad_end(self._run, self._ends, end, result.get("traceback"))
            self._progress.say("retraining", end.sentence)


class TicketMonitor(NotSaved, tune.Callback):
    """Exports the tickets of trials that are taken to their end after the search."""

    def __init__(self, run: RunDirectory, scheduler: PatientScheduler, ends: BadEnds, progress: Progress) -> None:
        self._run = run
        self._scheduler = scheduler
        self._ends = ends
        self._progress = progress

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note that the trial has begun."""
        self._scheduler.sign_of_life(trial)

    def on_checkpoint(self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **info: Any) -> None:
        """Copy the ticket out of the last checkpoint."""
        if trial.last_result.get("status") == "finished":
            target = self._run.ticket(trial.config["trial"])
            with self._scheduler.heeding_room(target):
                export(checkpoint, "ticket", target)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Print a line, and note a bad end, which would be the same another time."""
        result, number = trial.last_result, trial.config["trial"]
        if result.get("status") in ("collapsed", "diverged", "failed"):
            end = BadEnd(number, result["status"], result.get("reason") or "no reason was given")
            with self._scheduler.heeding_room(self._run.path):
                keep_bad_end(self._run, self._ends, end, result.get("traceback"))
            self._progress.say("tickets", end.sentence)
        elif result.get("status") == "finished":
            self._progress.say("tickets", f"trial {number} finished: {_outcome(Round.from_row(result))}")


def export(checkpoint: tune.Checkpoint, part: str, target: Path) -> None:
    """Copy the folder `part` of a checkpoint, wherever it is stored, to `target`, all of it or nothing."""
    with checkpoint.as_directory() as folder, replacing_directory(target) as temporary:
        shutil.copytree(Path(folder) / part, temporary, dirs_exist_ok=True)


def keep_bad_end(run: RunDirectory, ends: BadEnds, end: BadEnd, traceback: str | None) -> None:
    """Write down a bad end and, if an exception was to blame, its traceback."""
    if traceback:
        write_text(run.error(end.trial if end.retraining is None else end.retraining), traceback)
    ends.add(end)


def model_name(trial: Trial) -> str:
    """Return the name of a retraining, and of its model."""
    return str(trial.config["job"]["name"])
