"""Masks: which weights there are, kept outside the network."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.files import replacing
from dp_core.pruning.scope import Scope, prunable_parameters
from dp_core.tensors import write_tensors


class Mask(Mapping[str, Tensor]):
    """For every prunable parameter a bool tensor of its shape on the CPU, True where the weight is kept."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        if not tensors:
            raise ValueError("A mask needs at least one parameter.")
        for name, tensor in tensors.items():
            if tensor.dtype != torch.bool:
                raise ValueError(f"The mask of {name} is {tensor.dtype}, not bool.")
        self._tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}

    @staticmethod
    def ones(model: nn.Module, scope: Scope | None = None) -> Mask:
        """Return the mask that keeps every prunable weight of `model`; the names of a mask are its scope."""
        parameters = prunable_parameters(model, scope)
        return Mask({name: torch.ones(p.shape, dtype=torch.bool) for name, p in parameters.items()})

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    @property
    def total(self) -> int:
        """Number of prunable weights."""
        return sum(tensor.numel() for tensor in self.values())

    @property
    def kept(self) -> int:
        """Number of weights kept."""
        return sum(int(tensor.sum()) for tensor in self.values())

    @property
    def density(self) -> float:
        """Fraction of prunable weights kept, over the whole model."""
        return self.kept / self.total

    @property
    def sparsity(self) -> float:
        """Fraction of prunable weights that are zero, over the whole model."""
        return 1 - self.density

    def layer_densities(self) -> dict[str, float]:
        """Return the fraction of weights kept in each parameter."""
        return {name: float(tensor.double().mean()) for name, tensor in self.items()}

    def empty_layers(self) -> list[str]:
        """Return the parameters that have no weight left; whether that cuts the network, `layer_collapse` tells."""
        return [name for name, tensor in self.items() if not tensor.any()]

    def check(self, model: nn.Module, scope: Scope | None = None) -> None:
        """Raise UserError unless this is a mask of exactly the parameters of `model` that are prunable by `scope`."""
        parameters = prunable_parameters(model, scope)
        if parameters.keys() != self.keys():
            odd = sorted(parameters.keys() ^ self.keys())
            raise UserError(f"This mask is for another model: they differ in {', '.join(odd)}.")
        for name, parameter in parameters.items():
            if parameter.shape != self[name].shape:
                raise UserError(
                    f"This mask is for another model: {name} is {list(parameter.shape)} in the model "
                    f"and {list(self[name].shape)} in the mask."
                )

    def apply_(self, model: nn.Module) -> None:
        """Set the weights of `model` that are not kept to exactly zero, in place."""
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, tensor in self.items():
                parameter = parameters[name]
                parameter.masked_fill_(~tensor.to(parameter.device), 0)

    def save(self, path: Path) -> None:
        """Write the mask to `path`, eight weights a byte, all of it or nothing."""
        packed = {
            name: torch.from_numpy(np.packbits(tensor.numpy().reshape(-1), bitorder="little"))
            for name, tensor in self.items()
        }
        shapes = json.dumps({name: list(tensor.shape) for name, tensor in self.items()})
        with replacing(path) as temporary:
            write_tensors(temporary, packed, {"shapes": shapes})

    @staticmethod
    def load(path: Path) -> Mask:
        """Read what `save` wrote.

        Raises:
            UserError: the file is missing, damaged, or not a mask.
        """
        try:
            with safe_open(path, framework="pt") as file:
                shapes: dict[str, list[int]] = json.loads((file.metadata() or {})["shapes"])
                return Mask({name: _unpacked(file.get_tensor(name), shape) for name, shape in shapes.items()})
        except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is not a readable mask: {error}.") from error


def _unpacked(packed: Tensor, shape: list[int]) -> Tensor:
    count = math.prod(shape)
    if packed.dtype != torch.uint8 or packed.numel() != -(-count // 8):
        raise ValueError(f"{packed.numel()} × {packed.dtype} do not hold a mask of shape {shape}")
    bits = np.unpackbits(packed.numpy(), count=count, bitorder="little")
    return torch.from_numpy(bits.astype(bool)).view(shape)
