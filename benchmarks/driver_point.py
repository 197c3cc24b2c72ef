"""One simulated search of `driver_scale`, in this process: everything a real one does, but the trials only sleep."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial

from search.config.loader import load_config
from search.config.models import SearchConfig
from search.pipeline.leaderboard import write_tables
from search.pipeline.monitor import ScreeningMonitor
from search.pipeline.preparation import Preparation, prepare
from search.pipeline.run import parameter_types
from search.pipeline.study_opening import open_record
from search.pipeline.tensorboard import TensorBoardLog
from search.report import write_report
from search.runs.directory import RunDirectory
from search.runs.progress import Progress
from search.runs.ray_session import ray_session
from search.runs.record import new_record, write_record
from search.study.record import StudyRecord
from search.tune.checkpoints import CheckpointStore
from search.tune.execution import run_trials, trial_directory
from search.tune.study_parts import HaltStopper, StudyScheduler, StudySearcher
from trainables import SimulatedTrainable, SimulationContext
from trainables.screening.simulated_ticket import simulated_ticket

CONFIG = Path("configs/quickstart.yaml")
STEADY = (0.1, 0.9)  # shares of the trials between which workers neither start nor end
STUDY = {"propose": "study.propose", "report": "study.report", "finish": "study.finish"}
BOARD = {"trial_started": "tensorboard", "round_finished": "tensorboard", "trial_ended": "tensorboard"}


@dataclass(frozen=True)
class Point:
    """A search: how many trials, of how many rounds, which take a second together, and how many at a time."""

    trials: int
    rounds: int
    concurrency: int
    sampler: str = "auto"


@dataclass(frozen=True)
class Sample:
    """What has been used a number of seconds after the start: see `usage`."""

    seconds: float
    ended: int
    driver_mib: float
    cpu: dict[int, tuple[str, float]]


class Clock:
    """Adds up the seconds that calls take, by what they are for."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Count the body's time."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time counted."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.running(name):
                return function(*args, **kwargs)

        return call

    def watch(self, thing: object, names: dict[str, str]) -> None:
        """Count the time of methods of one object, given as method to name."""
        for method, name in names.items():
            setattr(thing, method, self.timed(name, getattr(thing, method)))


class Gauge(ScreeningMonitor):
    """The monitor of a real search, which also counts, and notes twice a second what has been used by then.

    Args:
        clock: counts the time that the copying of tickets takes.
        settings: of the monitor.
    """

    def __init__(self, clock: Clock, **settings: Any) -> None:
        super().__init__(**settings)
        self._clock = clock
        self.ended = 0
        self.first_start: float | None = None
        self.samples: list[Sample] = []
        self._started = time.perf_counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._over.wait(0.5):
            self.samples.append(self._now())

    def _now(self) -> Sample:
        cpu, memory = usage()
        return Sample(time.perf_counter() - self._started, self.ended, memory, cpu)

    def close(self) -> None:
        """Take no more samples."""
        self._over.set()
        self._thread.join()
        self.samples.append(self._now())

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note the first."""
        if self.first_start is None:
            self.first_start = time.perf_counter() - self._started
        super().on_trial_start(iteration, trials, trial, **info)

    def on_checkpoint(self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **info: Any) -> None:
        """Count the time."""
        with self._clock.running("tickets"):
            super().on_checkpoint(iteration, trials, trial, checkpoint, **info)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Count the end."""
        super().on_trial_complete(iteration, trials, trial, **info)
        self.ended += 1


def usage() -> tuple[dict[int, tuple[str, float]], float]:
    """Return kind and seconds of processor time of every process by its id, and this one's resident memory in MiB."""
    # Not at the top: Ray brings psutil with it, where it is found once Ray has been imported.
    import psutil  # type: ignore[import-untyped]

    driver = psutil.Process()
    found: dict[int, tuple[str, float]] = {}
    for process in (driver, *driver.children(recursive=True)):
        try:
            times = process.cpu_times()
            kind = "driver" if process.pid == driver.pid else process.name()
        except psutil.Error:  # it has ended meanwhile
            continue
        found[process.pid] = ("worker" if kind.startswith("ray::") else kind, times.user + times.system)
    return found, driver.memory_info().rss / 2**20


def measure(point: Point) -> dict[str, Any]:
    """Run the search of a point in a temporary folder and return what it cost."""
    with tempfile.TemporaryDirectory(prefix="driver-scale-") as folder:
        config = load_config(SearchConfig, CONFIG, overrides_of(point, Path(folder)))
        prepared = prepare(config, str(CONFIG), local=False)
        run = RunDirectory(config.run.directory / config.run.name)
        run.path.mkdir(parents=True)
        write_record(run, new_record(["winnow", "search", str(CONFIG)], config, prepared.splits))
        clock = Clock()
        with ray_session(None, point.concurrency), open_record(run, prepared, {}, Progress(quiet=True)) as record:
            gauge = _screen(point, run, prepared, record, clock)
            with clock.running("tables"):
                write_tables(run, record.trials())
            with clock.running("report"):
                write_report(run.path)
        with clock.running("reopening"), open_record(run, prepared, {}, Progress(quiet=True)) as again:
            counts = again.counts()
        if counts != {"COMPLETE": point.trials}:
            raise RuntimeError(f"Not all of the {point.trials} trials were completed: {counts}.")
        return {
            **asdict(point), **costs(point, gauge), "seconds_of": dict(clock.seconds),
            "bytes": {path.name: path.stat().st_size for path in run.path.iterdir() if path.is_file()},
        }  # fmt: skip


def overrides_of(point: Point, folder: Path) -> list[str]:
    """Return the overrides of the config: short trials, and every one of them to its end."""
    return [
        "run.name=scale",
        f"run.directory={folder}",
        f"data.cache={folder}/cache",
        f"search.trials={point.trials}",
        f"resources.concurrency={point.concurrency}",
        f"search.sampler={point.sampler}",
        "search.early_stopping.method=none",
    ]


def _screen(point: Point, run: RunDirectory, prepared: Preparation, record: StudyRecord, clock: Clock) -> Gauge:
    """Do what `search.pipeline.screening.screen` does, with trials that sleep, and with clocks."""
    board = TensorBoardLog(run.tensorboard, parameter_types(prepared.space))
    clock.watch(record, STUDY)
    clock.watch(board, BOARD)
    storage = str(run.path / "screening")
    store = CheckpointStore(storage)
    scheduler = StudyScheduler(record, lambda number: (run.ticket(number) / "card.json").exists())
    progress = Progress(quiet=True)
    gauge = Gauge(clock, run=run, record=record, scheduler=scheduler, board=board, progress=progress)
    try:
        run_trials(
            SimulatedTrainable,
            SimulationContext(seconds=1 / point.rounds, rounds=point.rounds, ticket=simulated_ticket()),
            storage=storage,
            session=store.next_session(),
            resources=prepared.config.resources,
            callback=gauge,
            trials=record.unfinished,
            searcher=StudySearcher(record, lambda number: store.newest(trial_directory(number)), run.path),
            scheduler=scheduler,
            stopper=HaltStopper(lambda: record.halted is not None),
        )
    finally:
        gauge.close()
        board.close()
    if record.halted is not None:
        raise record.halted
    return gauge


def costs(point: Point, gauge: Gauge) -> dict[str, Any]:
    """Return the time against the ideal, in all and while nothing starts or ends, and processor time a trial."""
    samples, last = gauge.samples, gauge.samples[-1]
    begin, end = (next(sample for sample in samples if sample.ended >= share * point.trials) for share in STEADY)
    ideal, ended = point.trials / point.concurrency, end.ended - begin.ended
    return {
        "seconds": last.seconds,
        "ideal_seconds": ideal,
        "overhead": last.seconds / ideal - 1,
        "first_start_seconds": gauge.first_start,
        "steady_overhead": (end.seconds - begin.seconds) / (ended / point.concurrency) - 1,
        "cpu_ms_a_trial": cpu_between(begin, end),
        "peak_driver_mib": max(sample.driver_mib for sample in samples),
        "memory": [(sample.ended, sample.driver_mib) for sample in samples[:: max(1, len(samples) // 100)]],
    }


def cpu_between(begin: Sample, end: Sample) -> dict[str, float]:
    """Return the milliseconds of processor time a trial by kind of process, of the processes there all the time."""
    used: defaultdict[str, float] = defaultdict(float)
    for pid, (kind, seconds) in end.cpu.items():
        if pid in begin.cpu:
            used[kind] += seconds - begin.cpu[pid][1]
    return {kind: 1000 * seconds / (end.ended - begin.ended) for kind, seconds in used.items()}
