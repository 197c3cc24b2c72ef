"""Overhead and processor time are those worked out by hand, and what was measured is not measured again."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.driver_point import Clock, Gauge, Point, Sample, costs, cpu_between
from benchmarks.driver_scale import PARTS, known_points, page_of, panels_of, points_of


def sample(seconds: float, ended: int, driver: float, worker: float) -> Sample:
    passing = 100 + ended  # a process that is there for this sample alone
    return Sample(seconds, ended, 100.0 + ended, {1: ("driver", driver), 2: ("worker", worker), passing: ("other", 9)})


def gauged(*samples: Sample) -> Gauge:
    return cast("Gauge", SimpleNamespace(samples=list(samples), first_start=2.5))


def measured(trials: int, rounds: int) -> dict[str, Any]:
    found = costs(Point(trials, rounds, 4), gauged(sample(0, trials // 2, 0, 0), sample(30, trials, 1, 1)))
    return {
        "trials": trials, "rounds": rounds, "concurrency": 4, "sampler": "auto", **found,
        "seconds_of": dict.fromkeys(PARTS, 0.5), "bytes": {"study.journal": 1000 * trials},
    }  # fmt: skip


def test_overhead_is_against_trials_of_a_second() -> None:
    # 100 trials, 4 at a time, are 25 s. From the 10th to the 90th they took 24 s, 80 / 4 = 20 being ideal.
    found = costs(Point(100, 1, 4), gauged(sample(0, 0, 1, 1), sample(4, 10, 2, 3), sample(28, 90, 4, 11)))
    assert found["ideal_seconds"] == 25
    assert found["overhead"] == pytest.approx(28 / 25 - 1)
    assert found["steady_overhead"] == pytest.approx(24 / 20 - 1)
    assert found["first_start_seconds"] == 2.5
    assert found["peak_driver_mib"] == 190
    # Two seconds of the driver and eight of the worker for 80 trials.
    assert found["cpu_ms_a_trial"] == pytest.approx({"driver": 25, "worker": 100})


def test_processes_that_came_or_went_are_left_out() -> None:
    assert cpu_between(sample(1, 0, 0, 0), sample(2, 10, 1, 0)) == pytest.approx({"driver": 100, "worker": 0})


def test_a_clock_counts_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 5.0, 7.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    clock, thing = Clock(), SimpleNamespace(double=lambda value: 2 * value)
    clock.watch(thing, {"double": "doubling"})
    assert [thing.double(1), thing.double(value=4)] == [2, 8]
    assert clock.seconds == {"doubling": 3}


def test_points_come_by_size_and_are_found_again(tmp_path: Path) -> None:
    arguments = argparse.Namespace(trials=[300, 100], rounds=[1, 4], concurrency=4, sampler="auto")
    points = points_of(arguments)
    assert [(point.trials, point.rounds) for point in points] == [(100, 1), (100, 4), (300, 1), (300, 4)]
    assert known_points(tmp_path / "result.json") == {}
    (tmp_path / "result.json").write_text(json.dumps({"points": [measured(100, 1), measured(300, 4)]}))
    assert known_points(tmp_path / "result.json").keys() == {points[0], points[3]}


def test_page_and_figure_show_every_point() -> None:
    points = [measured(100, 1), measured(300, 1), measured(100, 4)]
    page = page_of(points)
    assert page.count("| 100 | 1 |") == page.count("| 300 | 1 |") == page.count("| 100 | 4 |") == 2
    time, memory, work, journal = panels_of(points)
    assert [(line.label, line.x, line.y) for line in time.lines[1:]] == [
        ("1 round a trial", [100, 300], [30, 30]),
        ("4 rounds a trial", [100], [30]),
        ("ideal", [100, 300], [25, 75]),
    ]
    assert memory.lines[1].y == [200, 400]
    assert journal.lines[1].y == [100_000, 300_000]
    assert {line.label for line in work.lines[1:]} <= set(PARTS)
