"""Retrainings that a user asks for beside those of the promotion, kept until they are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from dp_core.files import write_json
from search.config.retraining import RetrainSection
from search.pipeline.retraining_plan import RetrainingPlan
from search.runs.directory import RunDirectory


@dataclass(frozen=True)
class Request:
    """Tickets, and how they are to be retrained.

    Args:
        trials: whose tickets they are.
        retrain: the section `retrain` of the config that was asked for.
    """

    trials: tuple[int, ...]
    retrain: RetrainSection

    @property
    def plan(self) -> RetrainingPlan:
        """How they are to be retrained."""
        return RetrainingPlan.of(self.retrain)

    @property
    def names(self) -> list[str]:
        """The names of its retrainings."""
        plan = self.plan
        return [name for trial in self.trials for name in plan.names(trial)]


_REQUESTS = TypeAdapter(tuple[Request, ...])


def read_requests(run: RunDirectory) -> tuple[Request, ...]:
    """Return what was asked for and is not done; nothing if there is no such file, or if it is damaged."""
    try:
        return _REQUESTS.validate_json(run.requests.read_bytes())
    except (FileNotFoundError, ValueError):
        return ()


def add_request(run: RunDirectory, request: Request) -> None:
    """Write down a request, once."""
    _write(run, [*(known for known in read_requests(run) if known != request), request])


def drop_request(run: RunDirectory, request: Request) -> None:
    """Take out a request that is done."""
    _write(run, [known for known in read_requests(run) if known != request])


def _write(run: RunDirectory, requests: Sequence[Request]) -> None:
    if requests:
        write_json(run.requests, _REQUESTS.dump_python(tuple(requests), mode="json"))
    else:
        run.requests.unlink(missing_ok=True)
