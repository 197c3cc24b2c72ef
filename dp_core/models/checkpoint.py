"""Weights of a user's to start from, instead of drawn ones."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from dp_core.errors import UserError, nearest


def load_weights(model: nn.Module, path: Path, label: str) -> None:
    """Copy the tensors of a safetensors file into the parameters and buffers of the same names.

    What the file lacks keeps what it has: leave out the last layer where there are other classes.

    Args:
        model: is changed in place.
        path: of the file; if relative, from the current folder or, like modules, from one that Python looks in, as
            workers run in other folders than the program that starts them.
        label: what the model is called in an error.

    Raises:
        UserError: there is no such file, it is no safetensors file (pickles are not read), or has a name, or under one
            a shape, that the model does not have.
    """
    place = next((folder / path for folder in (Path(), *map(Path, sys.path)) if (folder / path).is_file()), None)
    if place is None:
        raise UserError(f"The model '{label}' is to start from '{path}', which is no file.")
    try:
        found = load_file(place)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"The model '{label}' is to start from '{path}', which is no readable safetensors file: {error}. Others, "
            "such as .pt, may run code when they are read: write yours by safetensors.torch.save_file."
        ) from error
    own = model.state_dict(keep_vars=True)
    for name, tensor in found.items():
        if name not in own:
            raise UserError(f"'{path}' has '{name}', which the model '{label}' does not have.{nearest(name, own)}")
        if tensor.shape != own[name].shape:
            shapes = [list(each.shape) for each in (tensor, own[name])]
            raise UserError(f"'{path}' has '{name}' of shape {shapes[0]}, the model '{label}' of shape {shapes[1]}.")
    if not found:
        raise UserError(f"'{path}' has no tensors to start the model '{label}' from.")
    with torch.no_grad():
        for name, tensor in found.items():
            own[name].copy_(tensor)
