"""What is left to be done: nothing twice, the quick scores first, full trainings when their learning rate is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dp_core.proxies import RealTraining
from search.config.loader import load_config
from search.proxies.config import ProxyEvaluationConfig
from search.proxies.journal import ScoreJournal
from search.proxies.plan import Job, ProxyPlan
from search.proxies.preparation import ProxyPreparation, prepare_proxies
from search.proxies.trainings import Trainings
from search.proxies.truth_cache import TruthCache
from search.proxies.truths import truth_rows
from tests.search.proxies.tiny_evaluation import ARCHITECTURES, write_evaluation
from trainables.proxies import ScoreJob

DIGESTS = {"train": "a", "validation": "b", "test": "c"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> ProxyPreparation:
    path = write_evaluation(tmp_path_factory.mktemp("prepared"), truth={"seeds": 2})
    return prepare_proxies(load_config(ProxyEvaluationConfig, path, []), "tiny.yaml", local=False)


class Work:
    """Does the jobs of a plan by writing invented results; the best learning rate is the second one of all."""

    def __init__(self, prepared: ProxyPreparation, folder: Path) -> None:
        self.prepared, self.folder = prepared, folder
        folder.mkdir(exist_ok=True)
        self.journal = ScoreJournal(folder / "scores.jsonl")
        self.trainings = self._trainings()

    def plan(self) -> ProxyPlan:
        """Return what a driver that starts now has to do."""
        self.journal = ScoreJournal(self.folder / "scores.jsonl")
        self.trainings = self._trainings()
        return ProxyPlan(self.prepared, self.journal, self.trainings)

    def _trainings(self) -> Trainings:
        cache = TruthCache(self.folder / "truth", DIGESTS)
        return Trainings(self.prepared.config.truth.plan(), self.prepared.images.train, cache)

    def do(self, plan: ProxyPlan, job: Job, **changes: Any) -> None:
        if isinstance(job, ScoreJob):
            same = {"architecture": job.label, "readings": [], "status": "finished"}
            self.journal.append([{**same, "proxy": name, "replicate": number} for name, number in job.wanted])
            return
        found = {
            "status": "finished",
            "reason": None,
            "validation_accuracy": 0.9 if job.recipe.learning_rate == 0.005 else 0.1,
            "test_accuracy": 0.5 + job.seed / 10 if job.tested else None,
            "seconds": 2.0,
            "processor_seconds": 1.0,
            "image_gradients": 48,
        }
        self.trainings.add(job, found | changes)
        plan.tuned(job)


def kind(job: Job) -> str:
    if isinstance(job, RealTraining):
        return "final" if job.tested else "tuning"
    return "quick" if len(job.wanted) == 2 else "trained"


def drained(work: Work, plan: ProxyPlan, most: int = 10_000) -> list[Job]:
    jobs: list[Job] = []
    while len(jobs) < most and (job := plan.next()) is not None:
        jobs.append(job)
        work.do(plan, job)
    return jobs


def test_everything_is_done_once_and_in_order(prepared: ProxyPreparation, tmp_path: Path) -> None:
    work = Work(prepared, tmp_path)
    jobs = drained(work, work.plan())
    kinds = [kind(job) for job in jobs]
    assert list(dict.fromkeys(kinds)) == ["quick", "tuning", "final", "trained"]
    assert kinds == sorted(kinds, key=["quick", "tuning", "final", "trained"].index)
    assert [kinds.count(one) for one in dict.fromkeys(kinds)] == [ARCHITECTURES, *(2 * ARCHITECTURES,) * 3]
    finals = [job for job in jobs if isinstance(job, RealTraining) and job.tested]
    assert {job.recipe.learning_rate for job in finals} == {0.005}
    assert {job.seed for job in finals} == {1, 2}
    assert work.plan().finished


@pytest.mark.parametrize("done", [0, 5, 13, 30, 61])
def test_another_driver_takes_over_where_one_stopped(prepared: ProxyPreparation, tmp_path: Path, done: int) -> None:
    alone, work = Work(prepared, tmp_path / "alone"), Work(prepared, tmp_path / "stopped")
    whole = len(drained(alone, alone.plan()))
    first = drained(work, work.plan(), done)
    lost = work.plan().next()  # given out, and never done
    assert lost is not None
    second = drained(work, work.plan())
    assert len(first) + len(second) == whole
    assert lost in second


def test_the_dearest_architectures_come_first(prepared: ProxyPreparation, tmp_path: Path) -> None:
    work = Work(prepared, tmp_path)
    jobs = drained(work, work.plan())
    costs = {architecture.label: architecture.flops for architecture in prepared.architectures}
    quick = [costs[job.label] for job in jobs if isinstance(job, ScoreJob) and kind(job) == "quick"]
    assert quick == sorted(quick, reverse=True)


def test_what_cannot_be_trained_has_a_reason_and_no_full_training(prepared: ProxyPreparation, tmp_path: Path) -> None:
    work = Work(prepared, tmp_path)
    plan = work.plan()
    while (job := plan.next()) is not None:
        failing = isinstance(job, RealTraining) and job.spec.hyperparameters["width"] == 12
        failure = {"status": "failed", "reason": "too wide", "validation_accuracy": None, "test_accuracy": None}
        work.do(plan, job, **(failure if failing else {}))
    rows = {row["architecture"]: row for row in truth_rows(prepared, work.trainings)}
    for architecture in prepared.architectures:
        row = rows[architecture.label]
        if architecture.spec.hyperparameters["width"] == 12:
            assert (row["accuracy"], row["status"], row["reason"]) == (None, "failed", "too wide")
        else:
            assert row["accuracy"] == pytest.approx(0.65)  # of 0.6 and 0.7
            assert row["accuracy_std"] == pytest.approx(0.1 / 2**0.5)
            assert (row["seeds"], row["learning_rate"], row["status"]) == (2, 0.005, "finished")
            assert (row["seconds"], row["image_gradients"]) == (8.0, 4 * 48)
            assert row["flops"] == architecture.flops * 3 * 4 * 48
    assert work.plan().finished
