"""The jobs of a comparison, in the order in which they should be done, and which of them can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from search.comparison.wanted import WantedComparison
from trainables.laboratory import FINAL, Cell, ComparisonFiles, Job, Method


def open_jobs(jobs: Iterable[Job], files: ComparisonFiles) -> list[Job]:
    """Return the jobs that are neither done nor impossible.

    What cannot be done is to train a ticket that will never be there, as its search has ended before.
    """
    return [job for job in jobs if not job.result(files).exists() and not _is_impossible(job, files)]


class Plan:
    """Which jobs are open, ready, or done, as far as the comparison's folder tells."""

    def __init__(
        self,
        networks: Mapping[str, Mapping[str, Method]],
        seeds: int,
        files: ComparisonFiles,
        *,
        tune_final: bool = False,
        rate_of_each: bool = False,
    ) -> None:
        wanted = WantedComparison.of(networks, seeds, tuned=tune_final, rate_of_each=rate_of_each)
        self._networks = networks
        self._files = files
        self._tune_final = tune_final
        self._rate_of_each = wanted.rate_of_each
        self.jobs = list(wanted.jobs())
        self._open = open_jobs(self.jobs, files)

    @property
    def open(self) -> tuple[Job, ...]:
        """The jobs that are neither done nor handed out."""
        return tuple(self._open)

    @property
    def left(self) -> int:
        """How many they are."""
        return len(self._open)

    def next(self) -> Job | None:
        """Hand out the first job that waits for nothing, None if there is none now."""
        for index, job in enumerate(self._open):
            if self._is_ready(job):
                return self._open.pop(index)
        return None

    def drop_impossible(self) -> None:
        """Forget the trainings whose ticket will never be there, as its search ended before."""
        self._open = [job for job in self._open if not _is_impossible(job, self._files)]

    def _is_ready(self, job: Job) -> bool:
        cell = job.cell
        if cell.method == FINAL:
            return True
        final = not self._tune_final or self._files.learning_rate(cell.network, FINAL).exists()
        method = self._networks[cell.network][cell.method]
        if job.kind == "train":
            own = not self._rate_of_each or method.kind == "dense"
            final = final and (own or self._files.training_rate(cell.network, cell.method).exists())
            return final and self._files.ticket(cell).exists() and self._files.search(_search_cell(cell)).exists()
        if job.kind == "tune_training":
            return final and self._line_has_its_rates(cell.network, cell.method)
        if job.kind == "tune":  # by trained tickets, so that those it starts from have to have their rates
            return final and (method.parent is None or self._line_has_its_rates(cell.network, method.parent))
        if not self._has_its_rate(cell.network, cell.method) or (method.kind == "rewound" and not final):
            return False
        return method.parent is None or self._files.search(Cell(cell.network, cell.seed, method.parent)).exists()

    def _line_has_its_rates(self, network: str, name: str) -> bool:
        parent = self._networks[network][name].parent
        return self._has_its_rate(network, name) and (parent is None or self._line_has_its_rates(network, parent))

    def _has_its_rate(self, network: str, name: str) -> bool:
        several = len(self._networks[network][name].learning_rates) > 1
        return not several or self._files.learning_rate(network, name).exists()


def _is_impossible(job: Job, files: ComparisonFiles) -> bool:
    if job.kind != "train":
        return False
    return files.search(_search_cell(job.cell)).exists() and not files.ticket(job.cell).exists()


def _search_cell(cell: Cell) -> Cell:
    return Cell(cell.network, cell.seed, cell.method)
