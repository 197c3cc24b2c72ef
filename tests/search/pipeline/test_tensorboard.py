from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata

from search.output.event_run import EventRun
from search.pipeline.tensorboard import TensorBoardLog
from tests.search.tiny import a_round
from trainables.screening.round import Round


def row(number: int, score: float, **changes: Any) -> Round:
    return a_round(number, score, **{"proxy_accuracy": score / 2, "sparsity": 1 - 0.5**number, **changes})


TAGS = {
    "rung", "score", "proxy_accuracy", "proxy_loss", "replicates", "sparsity", "density", "prunable_parameters",
    "parameters", "parameters_left", "flops_dense", "flops_remaining", "steps", "image_gradients", "seconds",
}  # fmt: skip
"""What is drawn of a round of one replicate whose latency nobody asked for."""


def read(directory: Path) -> EventAccumulator:
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    events.Reload()
    return events


def curve(directory: Path, tag: str) -> list[Any]:
    return [(event.step, pytest.approx(event.value)) for event in read(directory).Scalars(tag)]


def hparams(directory: Path) -> dict[str, bytes]:
    content: dict[str, bytes] = read(directory).PluginTagToContent("hparams")
    return content


def status(directory: Path) -> int:
    content = hparams(directory)[metadata.SESSION_END_INFO_TAG]
    return int(metadata.parse_session_end_info_plugin_data(content).status)


def test_a_trial_has_its_curves_over_rounds(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.trial_started(12, {})
    log.round_finished(12, row(1, 0.3))
    log.round_finished(12, row(2, 0.5))
    log.close()
    run = tmp_path / "screening" / "trial-00012"
    assert curve(run, "score") == [(1, 0.3), (2, 0.5)]
    assert curve(run, "proxy_accuracy") == [(1, 0.15), (2, 0.25)]
    assert curve(run, "sparsity") == [(1, 0.5), (2, 0.75)]
    assert set(read(run).Tags()["scalars"]) == TAGS


def test_a_standard_error_is_a_curve_where_there_is_one(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.round_finished(0, row(1, 0.3, proxy_accuracy_sem=0.02, replicates=4))
    log.round_finished(1, row(1, 0.3))
    log.trial_ended(0, "finished", None, row(1, 0.3, proxy_accuracy_sem=0.02))
    log.close()
    assert curve(tmp_path / "screening" / "trial-00000", "proxy_accuracy_sem") == [(1, 0.02)]
    assert curve(tmp_path / "screening" / "all", "final/proxy_accuracy_sem") == [(1, 0.02)]
    assert "proxy_accuracy_sem" not in read(tmp_path / "screening" / "trial-00001").Tags()["scalars"]


def test_what_a_rung_has_not_measured_and_what_is_no_number_is_not_drawn(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    unmeasured = {"proxy_accuracy": math.nan, "proxy_loss": math.nan, "steps": None}
    log.round_finished(0, row(1, 0.3, **unmeasured, fidelity="nwot", rung_done=True))
    log.close()
    assert set(read(tmp_path / "screening" / "trial-00000").Tags()["scalars"]) == TAGS - unmeasured.keys()


def test_the_session_starts_when_the_trial_does(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.trial_started(0, {"model.depth": 3, "lr": 0.1, "nesterov": True, "norm": "batch", "ipc": None})
    content = hparams(tmp_path / "screening" / "trial-00000")
    start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
    assert metadata.SESSION_END_INFO_TAG not in content
    assert start.hparams["model.depth"].number_value == 3
    assert start.hparams["lr"].number_value == 0.1
    assert start.hparams["nesterov"].bool_value is True
    assert start.hparams["norm"].string_value == "batch"
    assert "ipc" not in start.hparams
    log.close()
    assert metadata.SESSION_END_INFO_TAG not in hparams(tmp_path / "screening" / "trial-00000")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("finished", api_pb2.STATUS_SUCCESS),
        ("failed", api_pb2.STATUS_FAILURE),
        ("stopped early", api_pb2.STATUS_UNKNOWN),
    ],
)
def test_the_session_ends_with_the_trials_true_state(state: str, expected: int, tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.trial_started(0, {"depth": 3})
    log.trial_ended(0, state, "because", None)
    log.close()
    run = tmp_path / "screening" / "trial-00000"
    assert status(run) == expected
    assert read(run).Tensors("state/text_summary")[0].tensor_proto.string_val == [f"{state}: because".encode()]


def test_an_unknown_state_is_our_defect(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        TensorBoardLog(tmp_path).trial_ended(0, "RUNNING", None, None)


def test_the_experiment_names_every_parameter_and_metrics_that_trials_have(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path, {"model.depth": int, "norm": str, "nesterov": bool})
    log.trial_started(0, {})
    log.round_finished(0, row(1, 0.3))
    log.close()
    content = hparams(tmp_path / "screening" / "all")[metadata.EXPERIMENT_TAG]
    experiment = metadata.parse_experiment_plugin_data(content)
    assert {info.name: info.type for info in experiment.hparam_infos} == {
        "model.depth": api_pb2.DATA_TYPE_FLOAT64,
        "norm": api_pb2.DATA_TYPE_STRING,
        "nesterov": api_pb2.DATA_TYPE_BOOL,
    }
    metrics = {info.name.tag for info in experiment.metric_infos}
    assert metrics == {"score", "proxy_accuracy", "sparsity", "parameters_left", "flops_remaining", "seconds"}
    assert metrics <= set(read(tmp_path / "screening" / "trial-00000").Tags()["scalars"])


def test_all_trials_are_aggregated_in_the_order_in_which_they_end(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.trial_ended(7, "finished", None, row(8, 0.4))
    log.trial_ended(2, "stopped early", "hopeless", row(1, 0.9))
    log.trial_ended(5, "failed", "not a number", None)
    log.trial_ended(4, "finished", None, row(8, math.nan, proxy_accuracy=0.3))
    log.trial_ended(9, "finished", None, row(8, 0.6))
    log.close()
    run = tmp_path / "screening" / "all"
    assert curve(run, "trial_number") == [(1, 7), (2, 2), (3, 5), (4, 4), (5, 9)]
    assert curve(run, "final/sparsity") == [(1, 1 - 0.5**8), (2, 0.5), (4, 1 - 0.5**8), (5, 1 - 0.5**8)]
    assert curve(run, "best_score/real") == [(1, 0.4), (2, 0.4), (3, 0.4), (4, 0.4), (5, 0.6)]
    assert curve(run, "trials/finished")[-1] == (5, 3)
    assert curve(run, "trials/stopped_early")[-1] == (5, 1)
    assert curve(run, "trials/failed")[-1] == (5, 1)


def test_what_collapsed_is_not_counted_as_stopped_early(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    for trial, outcome in enumerate(("collapsed", "stopped early", "collapsed")):
        log.trial_ended(trial, outcome, None, row(1, 0.1))
    log.close()
    run = tmp_path / "screening" / "all"
    assert curve(run, "trials/collapsed") == [(1, 1), (2, 1), (3, 2)]
    assert curve(run, "trials/stopped_early") == [(1, 0), (2, 1), (3, 1)]


def test_scores_of_different_fidelities_have_a_best_each(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.trial_ended(0, "finished", None, row(3, 0.6))
    log.trial_ended(1, "finished", None, row(3, 0.2, fidelity="distilled-7"))
    log.close()
    log = TensorBoardLog(tmp_path)
    log.trial_ended(2, "finished", None, row(3, 0.3, fidelity="distilled-7"))
    log.close()
    run = tmp_path / "screening" / "all"
    assert curve(run, "best_score/distilled-7") == [(2, 0.2), (3, 0.3)]
    assert curve(run, "best_score/real") == [(1, 0.6), (2, 0.6), (3, 0.6)]


def test_only_the_first_trials_have_runs_of_their_own(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path, detailed_trials=2)
    for trial in range(4):
        log.trial_started(trial, {"depth": 1})
        log.round_finished(trial, row(1, 0.1))
        log.trial_ended(trial, "finished", None, row(1, 0.1))
    log.close()
    assert {path.name for path in (tmp_path / "screening").iterdir()} == {"all", "trial-00000", "trial-00001"}
    assert len(curve(tmp_path / "screening" / "all", "trial_number")) == 4


def test_retraining_has_its_curves_over_epochs(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    for epoch in range(3):
        values = {"train_loss": 2.0 - epoch, "validation_accuracy": 0.1 * epoch, "learning_rate": 0.01, "seconds": 4.5}
        log.epoch_finished("trial-00003", epoch, values)
    log.model_ended("trial-00003", 0.75)
    log.close()
    run = tmp_path / "retraining" / "trial-00003"
    assert curve(run, "train_loss") == [(0, 2.0), (1, 1.0), (2, 0.0)]
    assert curve(run, "validation_accuracy") == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert curve(run, "test_accuracy") == [(2, 0.75)]


def interrupted(directory: Path) -> None:
    """Leave what a killed driver leaves: nothing is closed, a trial ended and another was in round 3."""
    log = TensorBoardLog(directory)
    for trial in range(2):
        log.trial_started(trial, {"depth": 1})
        for number in (1, 2, 3):
            log.round_finished(trial, row(number, 0.1 * number))
    log.trial_ended(0, "finished", None, row(3, 0.3))
    for epoch in range(3):
        log.epoch_finished("model", epoch, {"train_loss": 1.0})


def test_a_resumed_trial_replaces_the_rounds_it_runs_again(tmp_path: Path) -> None:
    interrupted(tmp_path)
    log = TensorBoardLog(tmp_path)
    log.trial_started(1, {"depth": 1})
    log.round_finished(1, row(2, 0.7))
    log.round_finished(1, row(3, 0.8))
    log.trial_ended(1, "stopped early", None, row(3, 0.8))
    log.epoch_finished("model", 2, {"train_loss": 0.5})
    log.close()
    run = tmp_path / "screening" / "trial-00001"
    assert curve(run, "score") == [(1, 0.1), (2, 0.7), (3, 0.8)]
    assert curve(tmp_path / "retraining" / "model", "train_loss") == [(0, 1.0), (1, 1.0), (2, 0.5)]
    assert status(run) == api_pb2.STATUS_UNKNOWN
    assert metadata.SESSION_START_INFO_TAG in hparams(run)


def test_a_trial_restarted_from_its_checkpoint_replaces_its_rounds_too(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.trial_started(0, {})
    for number, score in [(1, 0.1), (2, 0.2), (3, 0.3), (2, 0.5)]:
        log.round_finished(0, row(number, score))
    log.close()
    assert curve(tmp_path / "screening" / "trial-00000", "score") == [(1, 0.1), (2, 0.5)]


def test_a_trial_that_ended_before_a_resume_counts_once(tmp_path: Path) -> None:
    interrupted(tmp_path)
    log = TensorBoardLog(tmp_path)
    log.trial_ended(0, "finished", None, row(3, 0.3))
    log.trial_ended(1, "finished", None, row(3, 0.2))
    log.close()
    run = tmp_path / "screening" / "all"
    assert curve(run, "trial_number") == [(1, 0), (2, 1)]
    assert curve(run, "best_score/real") == [(1, 0.3), (2, 0.3)]
    assert curve(run, "trials/finished") == [(1, 1), (2, 2)]


def test_an_event_file_cut_short_does_not_stop_a_resume(tmp_path: Path) -> None:
    interrupted(tmp_path)
    (file,) = (tmp_path / "screening" / "all").iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    log = TensorBoardLog(tmp_path)
    log.trial_ended(0, "finished", None, row(3, 0.3))
    log.close()
    assert curve(tmp_path / "screening" / "all", "trials/finished")[-1] == (1, 1)


def test_a_finished_model_keeps_its_curve_when_only_its_test_follows_a_resume(tmp_path: Path) -> None:
    interrupted(tmp_path)
    log = TensorBoardLog(tmp_path)
    log.model_ended("model", 0.75)
    log.close()
    assert [step for step, _ in curve(tmp_path / "retraining" / "model", "train_loss")] == [0, 1, 2]
    assert read(tmp_path / "retraining" / "model").Scalars("test_accuracy")[0].value == 0.75


def test_a_run_continued_within_a_second_is_read_in_the_order_of_writing(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (first,) = tmp_path.glob("events*")
    # What follows the second in a file's name (host, process, counter) says nothing of the order.
    first.rename(tmp_path / f"events.out.tfevents.{int(time.time())}.zzz.9.9")
    write(tmp_path, 2)
    assert [event.step for event in read(tmp_path).Scalars("loss")] == [1, 2]


def write(directory: Path, step: int) -> None:
    run = EventRun(directory)
    run.add(Summary(value=[Summary.Value(tag="loss", simple_value=0.5)]), step)
    run.close()
