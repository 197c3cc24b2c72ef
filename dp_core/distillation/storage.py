"""How the tensors of a distilled set are stored: each in the smallest encoding that gives back every bit.

images      uint8 k, where they are exactly preprocessing(k / 255) under a standardisation, as real images are; else
            float16, where rounding to it changes nothing (see `DistilledSet.rounded`); else float32.
labels      int64; soft ones float16, where rounding to it changes nothing, else float32.
zca_matrix  float32: of a matrix that is exactly symmetric, as `ZCA.fit` makes it, the upper triangle row by row; else
            all of it. Beside it zca_mean.

Shapes and dtypes alone say which it was, so that sets written before there was a choice are read the same way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dp_core.data.preprocessing import ZCA, Preprocessing, Standardisation


def encode(images: Tensor, labels: Tensor, preprocessing: Preprocessing) -> dict[str, Tensor]:
    """Return the tensors to write, all contiguous, by the names in the head of this file.

    Args:
        images: float32 [N, C, H, W], in the space of `preprocessing`.
        labels: int64 [N] or float32 [N, classes].
        preprocessing: the space; the mean and std of a standardisation are not among the tensors.
    """
    found = {"images": _encode_images(images, preprocessing), "labels": _half_if_exact(labels)}
    if isinstance(preprocessing, ZCA):
        matrix = preprocessing.matrix
        rows, columns = torch.triu_indices(*matrix.shape)
        found["zca_mean"] = preprocessing.mean
        found["zca_matrix"] = matrix[rows, columns] if _same_bits(matrix, matrix.T) else matrix
    return {name: tensor.contiguous() for name, tensor in found.items()}


def decode(tensors: Mapping[str, Tensor], space: Mapping[str, Any]) -> tuple[Tensor, Tensor, Preprocessing]:
    """Return images, labels and preprocessing as `encode` was given them, bit for bit.

    Args:
        tensors: what `encode` returned.
        space: what `describe_space` returned.

    Raises:
        KeyError, TypeError, ValueError, UserError: the two do not make a distilled set.
    """
    preprocessing = _decode_space(tensors, space)
    return _decode_images(tensors["images"], preprocessing), _single(tensors["labels"]), preprocessing


def describe_encoding(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return for each of the tensors of `encode` how it is stored, in a word or two for the card."""
    found = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
    if "zca_matrix" in tensors and tensors["zca_matrix"].dim() == 1:
        found["zca_matrix"] += ", upper triangle"
    return found


def describe_space(preprocessing: Preprocessing) -> dict[str, Any]:
    """Return what of a preprocessing is not in tensors: its `kind`, and `mean` and `std` of a standardisation."""
    if isinstance(preprocessing, ZCA):
        return {"kind": "zca"}
    mean, std = ([float(value) for value in values] for values in (preprocessing.mean, preprocessing.std))
    return {"kind": "standardisation", "mean": mean, "std": std}


def digest_of_contents(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256, 64 hex digits, of a line of canonical JSON and the bytes of the tensors in C order.

    The line has `facts` and under "tensors" the name, dtype and shape of each, in the order of the bytes.
    """
    heads = [[name, str(tensor.dtype), list(tensor.shape)] for name, tensor in tensors.items()]
    line = json.dumps({**facts, "tensors": heads}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    found = hashlib.sha256(f"{line}\n".encode())
    for tensor in tensors.values():
        found.update(_bytes(tensor).numpy().data)
    return found.hexdigest()


def _encode_images(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    # Not under a ZCA: its matrix product differs in the last bits from one machine to another.
    if isinstance(preprocessing, Standardisation):
        levels = preprocessing.inverse(images.double()).mul(255).round().clamp(0, 255).to(torch.uint8)
        if _same_bits(_decode_images(levels, preprocessing), images):
            return levels
    return _half_if_exact(images)


def _decode_images(stored: Tensor, preprocessing: Preprocessing) -> Tensor:
    return preprocessing(stored.float().div(255)) if stored.dtype == torch.uint8 else _single(stored)


def _decode_space(tensors: Mapping[str, Tensor], space: Mapping[str, Any]) -> Preprocessing:
    if space["kind"] == "zca":
        mean, matrix = tensors["zca_mean"], tensors["zca_matrix"]
        return ZCA(mean, _from_triangle(matrix, len(mean)) if matrix.dim() == 1 else matrix)
    if space["kind"] == "standardisation":
        return Standardisation(tuple(space["mean"]), tuple(space["std"]))
    raise ValueError(f"unknown preprocessing '{space['kind']}'")


def _from_triangle(triangle: Tensor, size: int) -> Tensor:
    rows, columns = torch.triu_indices(size, size)
    if len(triangle) != len(rows):
        raise ValueError(f"{len(triangle)} numbers are not the upper triangle of a {size}×{size} matrix")
    matrix = triangle.new_empty(size, size)
    matrix[rows, columns] = triangle
    matrix[columns, rows] = triangle
    return matrix


def _half_if_exact(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() and _same_bits(tensor.half().float(), tensor) else tensor


def _single(stored: Tensor) -> Tensor:
    return stored.float() if stored.dtype == torch.float16 else stored


def _same_bits(one: Tensor, other: Tensor) -> bool:
    # Compared as numbers, -0 would equal 0.
    return one.dtype == other.dtype and torch.equal(_bytes(one), _bytes(other))


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(torch.uint8)
