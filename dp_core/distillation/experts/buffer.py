"""A folder of expert trajectories of one plan, read epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dp_core.cards import read_card, write_card
from dp_core.distillation.experts.plan import FORMAT
from dp_core.distillation.experts.trajectory import Trajectory
from dp_core.errors import UserError
from dp_core.files import digest_of_json
from dp_core.models import ModelSpec

_CPU = torch.device("cpu")


class ExpertBuffer:
    """The parameters of experts at initialisation and at the end of every epoch.

    Nothing is held in memory: `parameters` reads what it is asked for. The files of an expert are compared with their
    digests once, when it is first used; that each file is there and has its full length is seen when a buffer is
    opened.

    Use `open` to get one.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], experts: int) -> None:
        self.folder = folder
        self.identity = identity
        self._digest = digest_of_json(identity)
        self._experts = experts
        self._names: dict[int, list[str]] = {}  # of the experts that were verified, their parameters

    @staticmethod
    def open(folder: Path, expected: Mapping[str, Any] | None = None, *, experts: int | None = None) -> ExpertBuffer:
        """Open a buffer.

        Args:
            folder: of the buffer.
            expected: the identity that it must have (ExpertPlan.identity); None takes any.
            experts: how many are wanted, the first ones; None takes all up to the first that is missing.

        Raises:
            UserError: there is no such buffer, it was made from something else, or an expert is missing or damaged.
        """
        identity = read_identity(folder, expected)
        there = sum(1 for _ in takewhile(lambda index: trajectory(folder, index).exists(), count()))
        wanted = there if experts is None else experts
        if there < max(wanted, 1):
            raise UserError(f"{folder} has no expert {there}, of {max(wanted, 1)} that are needed.")
        for index in range(wanted):
            trajectory(folder, index).check_whole()
        return ExpertBuffer(folder, identity, wanted)

    def __len__(self) -> int:
        """Return the number of experts."""
        return self._experts

    @property
    def epochs(self) -> int:
        """Epochs of every trajectory; it has this many states and the initial one."""
        return int(self.identity["epochs"])

    def spec(self, expert: int) -> ModelSpec:
        """Return the architecture of an expert, counted from 0."""
        self._check_index(expert)
        models = self.identity["models"]
        return ModelSpec.from_dict(models[expert % len(models)])

    def parameters(self, expert: int, epoch: int, device: torch.device = _CPU) -> dict[str, Tensor]:
        """Read the parameters of an expert at the end of an epoch.

        Args:
            expert: counted from 0.
            epoch: from 0, the initial weights, to `epochs`.
            device: to have them on.

        Returns:
            For every parameter, in the order of `named_parameters()`, a float32 tensor that is the caller's own.

        Raises:
            IndexError: there is no such expert or epoch.
            UserError: the expert's files are damaged, were edited, or belong to another buffer or expert.
        """
        self._check_index(expert)
        if not 0 <= epoch <= self.epochs:
            raise IndexError(f"epoch {epoch} is outside 0 to {self.epochs}")
        kept = trajectory(self.folder, expert)
        if expert not in self._names:
            self._names[expert] = self._verified_names(kept, expert)
        return kept.read(epoch, self._names[expert], device)

    def _verified_names(self, kept: Trajectory, expert: int) -> list[str]:
        card = kept.verify()
        if (card.get("buffer"), card.get("expert"), card.get("epochs")) != (self._digest, expert, self.epochs):
            raise UserError(
                f"{kept.folder} is not expert {expert} of this buffer; remove it to have this expert trained again."
            )
        return list(card["parameters"])

    def _check_index(self, expert: int) -> None:
        if not 0 <= expert < self._experts:
            raise IndexError(f"expert {expert} is outside 0 to {self._experts - 1}")


def trajectory(folder: Path, expert: int) -> Trajectory:
    """Return where an expert of the buffer in `folder` is, or will be."""
    return Trajectory(folder / f"expert_{expert:03d}")


def claim_folder(folder: Path, identity: Mapping[str, Any]) -> None:
    """Make `folder` the buffer of `identity`, or see that it is.

    Raises:
        UserError: it is a buffer made from something else, or cannot be written.
    """
    if not _card(folder).exists():
        try:
            write_card(_card(folder), {"identity": dict(identity)}, {})
        except OSError as error:
            raise UserError(f"Expert trajectories cannot be written to {folder}: {error.strerror or error}.") from error
    read_identity(folder, identity)


def read_identity(folder: Path, expected: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the identity of the buffer in `folder`.

    Raises:
        UserError: there is none, or it is not the one that is expected.
    """
    identity = read_card(_card(folder), "buffer of expert trajectories", {}).get("identity")
    if not isinstance(identity, dict) or identity.get("format") != FORMAT:
        raise UserError(f"{_card(folder)} is not the card of a buffer of expert trajectories in format {FORMAT}.")
    if expected is not None and digest_of_json(identity) != digest_of_json(expected):
        raise UserError(f"The expert trajectories in {folder} are {_difference(identity, expected)}.")
    return identity


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    key = next(key for key in wanted if digest_of_json(found.get(key)) != digest_of_json(wanted[key]))
    match key:
        case "source" | "classes":
            return "of another data set"
        case "space":
            return "in another space: their images were preprocessed in another way"
        case "models":
            return f"of other networks: {_labels(found)}, not {_labels(wanted)}"
        case _:
            return f"of another plan: {key} is {found.get(key)}, not {wanted[key]}"


def _labels(identity: Mapping[str, Any]) -> str:
    # The card has them sorted by hyperparameter.
    return ", ".join(ModelSpec.from_dict(dict(sorted(model.items()))).label() for model in identity["models"])


def _card(folder: Path) -> Path:
    return folder / "card.json"
