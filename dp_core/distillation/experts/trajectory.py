"""The folder of one expert: its parameters at the end of every epoch, one file from which any epoch can be read."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dp_core.cards import read_card, write_card
from dp_core.errors import UserError
from dp_core.files import replacing_directory


class Trajectory:
    """What is kept of one expert: `trajectory.safetensors` and `card.json`, in a folder of their own.

    The tensors are named `epoch_007.<parameter>`; the format sorts by name, so that an epoch is one piece of the file,
    and reading it touches nothing else. Buffers (the statistics of batch norms) are not kept: they are not part of the
    trajectory that is matched, and networks are run on the batch's own statistics when it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tensors = folder / "trajectory.safetensors"
        self._card = folder / "card.json"

    def exists(self) -> bool:
        """Return whether the expert was finished and nothing of it was removed."""
        return self._tensors.is_file() and self._card.is_file()

    def write(self, epochs: Sequence[Mapping[str, Tensor]], card: Mapping[str, Any]) -> None:
        """Write the folder, all of it or nothing.

        Args:
            epochs: parameters by name, on the CPU, at initialisation and after every epoch.
            card: plain values; the names of the parameters, in their order, are added.

        Raises:
            UserError: there is no room left.
        """
        tensors = {_key(epoch, name): value for epoch, state in enumerate(epochs) for name, value in state.items()}
        try:
            with replacing_directory(self.folder) as temporary:
                written = Trajectory(temporary)
                # The library gives its files to their owner alone; a folder of experts is often shared.
                written._tensors.touch()
                mode = written._tensors.stat().st_mode
                save_file(tensors, written._tensors)
                written._tensors.chmod(mode)
                write_card(
                    written._card, {**card, "epochs": len(epochs) - 1, "parameters": list(epochs[0])}, written._files()
                )
        except (OSError, SafetensorError) as error:
            if not _says_full(error):
                raise
            raise UserError(
                f"There is no room left for the expert trajectory {self.folder}; what was finished before is kept."
            ) from error

    def check_whole(self) -> None:
        """Raise UserError if the file of tensors has lost a part; reads only its header."""
        try:
            with safe_open(self._tensors, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise self._damaged(f"{self._tensors} is not a readable trajectory: {error}") from error

    def verify(self) -> dict[str, Any]:
        """Read all of the files, compare them with their digests and return the card.

        Raises:
            UserError: a file is missing, damaged, or was edited since it was written.
        """
        try:
            return read_card(self._card, "trajectory", self._files())
        except UserError as error:
            raise self._damaged(str(error)) from error

    def read(self, epoch: int, names: Sequence[str], device: torch.device) -> dict[str, Tensor]:
        """Return the parameters `names` at the end of `epoch`, float32 copies on `device`, in the order of `names`."""
        try:
            with safe_open(self._tensors, framework="pt") as file:
                # What the file gives is a view into it, read when it is looked at.
                kept = {name: file.get_tensor(_key(epoch, name)) for name in names}
                return {name: value.to(device, torch.float32, copy=True) for name, value in kept.items()}
        except (OSError, SafetensorError) as error:
            raise self._damaged(f"{self._tensors} is not a readable trajectory: {error}") from error

    def _files(self) -> dict[str, Path]:
        return {"tensors": self._tensors}

    def _damaged(self, problem: str) -> UserError:
        return UserError(f"{problem.rstrip('.')}; remove {self.folder} to have this expert trained again.")


def _key(epoch: int, name: str) -> str:
    return f"epoch_{epoch:03d}.{name}"


def _says_full(error: OSError | SafetensorError) -> bool:
    full = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError):
        return error.errno in full
    return any(f"(os error {number})" in str(error) for number in full)  # the library has errors of its own
