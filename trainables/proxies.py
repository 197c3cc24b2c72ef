"""The jobs of a proxy evaluation: scoring an architecture, and training it on real data to know the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from dp_core.data.preprocessing import Preprocessing
from dp_core.distillation import DistilledSet
from dp_core.errors import UserError
from dp_core.models import ModelSpec
from dp_core.proxies import Proxy, ProxyInputs, RealTraining
from dp_core.proxies.true_accuracy import true_accuracy
from dp_core.seeds import derive_seed
from trainables.trials.device import claim_device
from trainables.trials.shared_dataset import SharedDataset


@dataclass(frozen=True, eq=False)
class ProxyBench:
    """What all jobs of a proxy evaluation share.

    `scored` are the validation images that trained proxies are scored on, of `validation`, which choose the learning
    rates of the truth.
    """

    train: SharedDataset
    validation: SharedDataset
    scored: SharedDataset
    test: SharedDataset | None
    space: Preprocessing
    sets: Mapping[str, DistilledSet]
    proxies: Mapping[str, Proxy]
    seed: int
    threads: int


@dataclass(frozen=True)
class ScoreJob:
    """Proxies that score one architecture, one after the other; each with the number of the replicate."""

    label: str
    spec: ModelSpec
    wanted: tuple[tuple[str, int], ...]


def run_scores(bench: ProxyBench, job: ScoreJob) -> list[dict[str, Any]]:
    """Return a row for each wanted score: `architecture`, `proxy`, `replicate`, `readings`, `status` and `reason`.

    A proxy that cannot handle the architecture has the status "failed", and its reason, and so has one in which a
    user's own network raises something; the others go on.
    """
    device = claim_device(bench.threads)
    inputs = ProxyInputs(bench.train.open(), bench.scored.open(), bench.sets, bench.space, device)
    rows = []
    for name, replicate in job.wanted:
        row: dict[str, Any] = {"architecture": job.label, "proxy": name, "replicate": replicate}
        try:
            readings = bench.proxies[name].score(job.spec, inputs, derive_seed(bench.seed, "replicate", replicate))
        except Exception as error:
            rows.append(row | {"readings": [], "status": "failed", "reason": _reason(error, job.spec)})
        else:
            rows.append(row | {"readings": [asdict(found) for found in readings], "status": "finished", "reason": None})
    return rows


def run_truth(bench: ProxyBench, training: RealTraining) -> dict[str, Any]:
    """Return what `true_accuracy` returns, with the status "failed" and the `reason` for what cannot be trained."""
    device = claim_device(bench.threads)
    inputs = ProxyInputs(bench.train.open(), bench.validation.open(), bench.sets, bench.space, device)
    try:
        return {**true_accuracy(training, inputs, None if bench.test is None else bench.test.open()), "reason": None}
    except Exception as error:
        return {"status": "failed", "reason": _reason(error, training.spec)}


def _reason(error: Exception, spec: ModelSpec) -> str:
    """Return why an architecture has failed, if it is the architecture's doing; else raise the error again.

    A user's own network may raise anything, also only in training; a lack of memory may pass.
    """
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if ":" not in spec.name or isinstance(error, MemoryError | torch.OutOfMemoryError):
        raise error
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
