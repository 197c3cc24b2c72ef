"""Which job of a comparison comes next, and which never will."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.comparison.planning import Plan
from search.comparison.wanted import WantedComparison
from tests.trainables.laboratory.comparisons import DENSE, method, untrained
from trainables.laboratory import FINAL, Cell, ComparisonFiles, Job
from trainables.laboratory.files import write_result

METHODS = {
    found.name: found
    for found in (
        DENSE,
        untrained("shuffled", "shuffled", parent="imp", sparsities=(0.5, 0.8)),  # before the method that it is of
        method("imp", sparsities=(0.5, 0.8), learning_rates=(0.1, 0.2)),
        method("combined", sparsities=(0.8,), parent="imp", start_sparsity=0.5, learning_rates=(0.1, 0.2)),
    )
}
NETWORKS = {"one": METHODS, "two": {"dense": DENSE}}


def finish(files: ComparisonFiles, job: Job, *, tickets: tuple[float, ...] = (0.0, 0.5, 0.8)) -> None:
    """Leave in the folder what a job would, its search with `tickets` alone."""
    if job.kind == "find":
        for target in METHODS[job.cell.method].sparsities:
            if target in tickets:
                files.ticket(Cell(job.cell.network, job.cell.seed, job.cell.method, target)).mkdir(parents=True)
    write_result(job.result(files), {})


def names(jobs: object) -> list[str]:
    return [f"{job.kind} {job.cell.name}" for job in jobs]  # type: ignore[attr-defined]


def test_jobs_come_network_by_network_and_seed_by_seed() -> None:
    assert names(WantedComparison.of(NETWORKS, 2).jobs()) == [
        "tune one/seed0/imp",
        "tune one/seed0/combined",
        "find one/seed0/dense",
        "find one/seed0/shuffled",
        "find one/seed0/imp",
        "find one/seed0/combined",
        "train one/seed0/dense/0",
        "train one/seed0/shuffled/50",
        "train one/seed0/shuffled/80",
        "train one/seed0/imp/50",
        "train one/seed0/imp/80",
        "train one/seed0/combined/80",
        "find one/seed1/dense",
        "find one/seed1/shuffled",
        "find one/seed1/imp",
        "find one/seed1/combined",
        "train one/seed1/dense/0",
        "train one/seed1/shuffled/50",
        "train one/seed1/shuffled/80",
        "train one/seed1/imp/50",
        "train one/seed1/imp/80",
        "train one/seed1/combined/80",
        "find two/seed0/dense",
        "train two/seed0/dense/0",
        "find two/seed1/dense",
        "train two/seed1/dense/0",
    ]


def needs(job: Job) -> list[Job]:
    """Return what has to be done before a job, written out by hand."""
    cell = job.cell
    if job.kind == "train":
        return [Job("find", Cell(cell.network, cell.seed, cell.method))]
    tunings = [Job("tune", Cell(cell.network, 0, name)) for name in ("imp", "combined")]
    if job.kind == "tune":  # on tickets that start from those of imp, whose rate has to be known
        return tunings[:1] if cell.method == "combined" else []
    searches = [Job("find", Cell(cell.network, cell.seed, "imp"))]
    return {"shuffled": searches, "combined": [*searches, *tunings], "imp": tunings[:1]}.get(cell.method, [])


@settings(max_examples=20)
@given(choices=st.lists(st.integers(0, 3), min_size=80, max_size=80), concurrency=st.integers(1, 4))
def test_every_job_is_handed_out_once_and_after_what_it_needs(
    tmp_path_factory: pytest.TempPathFactory, choices: list[int], concurrency: int
) -> None:
    files = ComparisonFiles(tmp_path_factory.mktemp("plan"))
    plan = Plan(NETWORKS, 2, files)
    running: list[Job] = []
    done: list[Job] = []
    for choice in choices:
        while len(running) < concurrency and (job := plan.next()) is not None:
            assert set(needs(job)) <= set(done)
            running.append(job)
        if not running:
            break
        done.append(running.pop(choice % len(running)))  # they end in any order
        finish(files, done[-1])
        plan.drop_impossible()
    assert sorted(names(done)) == sorted(names(WantedComparison.of(NETWORKS, 2).jobs()))
    assert (plan.left, plan.open) == (0, ())


def test_a_tuning_waits_for_the_rates_of_all_that_it_starts_from(tmp_path: Path) -> None:
    """Of a line whose first and last have rates to choose from, the last is not tuned before the first is."""
    several = {"learning_rates": (0.1, 0.2)}
    line = (
        method("last", sparsities=(0.8,), parent="middle", start_sparsity=0.5, **several),
        method("middle", sparsities=(0.5,), parent="first", start_sparsity=0.4),
        method("first", sparsities=(0.4,), **several),
    )
    plan = Plan({"one": {each.name: each for each in line}}, 1, ComparisonFiles(tmp_path))
    assert plan.next() == Job("tune", Cell("one", 0, "first"))
    assert plan.next() is None


def test_one_at_a_time_the_order_is_kept_as_far_as_dependencies_allow(tmp_path: Path) -> None:
    files = ComparisonFiles(tmp_path)
    plan = Plan({"one": METHODS}, 1, files)
    done = []
    while (job := plan.next()) is not None:
        done.append(job)
        finish(files, job)
    # After each the first that is ready: the control as soon as its method's tickets are there.
    assert names(done)[:6] == [
        "tune one/seed0/imp",
        "tune one/seed0/combined",
        "find one/seed0/dense",
        "find one/seed0/imp",
        "find one/seed0/shuffled",
        "find one/seed0/combined",
    ]


def test_what_is_done_is_not_planned_again(tmp_path: Path) -> None:
    files = ComparisonFiles(tmp_path)
    jobs = list(WantedComparison.of(NETWORKS, 2).jobs())
    finish(files, jobs[1])
    finish(files, jobs[5])
    plan = Plan(NETWORKS, 2, files)
    assert len(plan.jobs) == len(jobs)
    assert names(plan.open) == names(job for number, job in enumerate(jobs) if number not in (1, 5))


def test_a_ticket_whose_search_goes_on_is_not_trained_yet(tmp_path: Path) -> None:
    files = ComparisonFiles(tmp_path)
    files.ticket(Cell("two", 0, "dense", 0.0)).mkdir(parents=True)
    plan = Plan({"two": {"dense": DENSE}}, 1, files)
    assert names([plan.next()]) == ["find two/seed0/dense"]
    assert plan.next() is None
    assert plan.left == 1
    plan.drop_impossible()
    assert plan.left == 1


def test_a_training_whose_ticket_was_never_found_is_dropped(tmp_path: Path) -> None:
    files = ComparisonFiles(tmp_path)
    plan = Plan({"one": METHODS}, 1, files)
    finish(files, Job("tune", Cell("one", 0, "imp")))
    finish(files, Job("find", Cell("one", 0, "imp")), tickets=(0.5,))
    plan.drop_impossible()
    assert "train one/seed0/imp/80" not in names(plan.open)
    assert "train one/seed0/imp/50" in names(plan.open)
    for found in ("shuffled", "combined"):
        finish(files, Job("find", Cell("one", 0, found)), tickets=(0.5,))
    plan.drop_impossible()
    left = [f"train one/seed0/{name}" for name in ("dense/0", "shuffled/50", "imp/50")]
    assert [name for name in names(plan.open) if name.startswith("train")] == left


@pytest.mark.parametrize(("network", "seed"), list(product(("one", "two"), (0, 1))))
def test_seeds_do_not_wait_for_each_other(tmp_path: Path, network: str, seed: int) -> None:
    files = ComparisonFiles(tmp_path)
    finish(files, Job("find", Cell(network, seed, "dense")))
    ready = []
    plan = Plan(NETWORKS, 2, files)
    while (job := plan.next()) is not None:
        ready.append(job)
    assert f"train {network}/seed{seed}/dense/0" in names(ready)


def test_trainings_wait_for_the_learning_rate_of_their_network(tmp_path: Path) -> None:
    files = ComparisonFiles(tmp_path)
    networks = {"two": {"dense": DENSE}}
    jobs = list(WantedComparison.of(networks, 1, tuned=True).jobs())
    assert names(jobs) == [f"tune two/seed0/{FINAL}", "find two/seed0/dense", "train two/seed0/dense/0"]
    finish(files, jobs[1])
    plan = Plan(networks, 1, files, tune_final=True)
    assert plan.next() == jobs[0]
    assert plan.next() is None
    finish(files, jobs[0])
    assert plan.next() == jobs[2]


def test_trainings_wait_for_the_learning_rate_of_their_method(tmp_path: Path) -> None:
    """Where each method has its own; that of the dense network is the network's."""
    files = ComparisonFiles(tmp_path)
    networks = {"one": {name: METHODS[name] for name in ("dense", "shuffled", "imp")}}
    jobs = list(WantedComparison.of(networks, 1, tuned=True, rate_of_each=True).jobs())
    assert names(jobs)[:5] == [
        f"tune one/seed0/{FINAL}",
        "tune_training one/seed0/shuffled",
        "tune one/seed0/imp",
        "tune_training one/seed0/imp",
        "find one/seed0/dense",
    ]
    plan = Plan(networks, 1, files, tune_final=True, rate_of_each=True)
    order: list[Job] = []
    while (job := plan.next()) is not None:
        order.append(job)
        finish(files, job)
    assert len(order) == len(jobs)
    place = {name: order.index(job) for name, job in zip(names(jobs), jobs, strict=True)}
    assert place[f"tune one/seed0/{FINAL}"] < place["tune one/seed0/imp"] < place["tune_training one/seed0/imp"]
    assert place["tune one/seed0/imp"] < place["tune_training one/seed0/shuffled"]  # its tickets are of imp's
    for name in ("imp", "shuffled"):
        assert place[f"tune_training one/seed0/{name}"] < place[f"train one/seed0/{name}/50"]
    # Without several rates to choose from there is none to choose.
    assert not any(job.kind == "tune_training" for job in WantedComparison.of(networks, 1, rate_of_each=True).jobs())
