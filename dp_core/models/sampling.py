"""Samples of a space of architectures that have every value of every hyperparameter about equally often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from dp_core.errors import UserError
from dp_core.models.spaces import edge_operations
from dp_core.models.spec import ModelSpec
from dp_core.seeds import generator

_Integers = npt.NDArray[np.int64]
_Codes = npt.NDArray[np.unsignedinteger]  # [hyperparameters, candidates], equal where the values are

_STARTS = 8  # of a sample; few leave a pair of values now and then two too many
_BARRED = 2**62  # more than all members can agree in, and twice as much is still an int64


def stratified(specs: Sequence[ModelSpec], count: int, seed: int) -> list[ModelSpec]:
    """Return `count` of `specs`, in their order, balanced over families and hyperparameters.

    Families, the specs of one name, get equal shares as far as each has members. Let a family's sample have n_v
    members with value v of a hyperparameter, and n_vw with the values v and w of two. It is chosen to have a small
    Σ n_v² and, with that, a small Σ n_vw²; equal counts, where the space allows them, make both least. It is grown
    greedily, ties broken at random, and then one member at a time is exchanged while that helps (the exchange algorithm
    of experimental design: Fedorov 1972; Cook & Nachtsheim 1980), which ends in a local optimum, the best of a few.
    What is balanced of a NAS-Bench-201 cell are the operations on its six edges.

    Args:
        specs: the space.
        count: 0 to the number of `specs`.
        seed: breaks ties; the same one draws the same sample.

    Raises:
        UserError: there are not so many.
    """
    if not 0 <= count <= len(specs):
        raise UserError(f"A sample of {count} architectures cannot be taken from {len(specs)}.")
    families: dict[str, list[int]] = {}
    for index, spec in enumerate(specs):
        families.setdefault(spec.name, []).append(index)
    chosen: list[int] = []
    shares = _shares([len(members) for members in families.values()], count, seed)
    for (name, members), share in zip(families.items(), shares, strict=True):
        sample = _balanced(_codes([specs[index] for index in members]), share, seed, name)
        chosen.extend(members[index] for index in sample)
    return [specs[index] for index in sorted(chosen)]


def _shares(sizes: Sequence[int], count: int, seed: int) -> list[int]:
    """Share `count` equally among families of such sizes, what does not divide going to some of them at random."""
    shares = [0] * len(sizes)
    order = _permutation(len(sizes), seed, "families")
    for _ in range(count):
        unfilled = (family for family in order if shares[family] < sizes[family])
        shares[min(unfilled, key=shares.__getitem__)] += 1
    return shares


def _codes(specs: Sequence[ModelSpec]) -> _Codes:
    """Return for each hyperparameter and spec the number of its value; having none counts as a value."""
    factors = [_factors(spec) for spec in specs]
    names = dict.fromkeys(name for one in factors for name in one)
    codes = np.zeros((len(names), len(specs)), dtype=np.int64)
    for row, name in enumerate(names):
        _, codes[row] = np.unique([one.get(name, "") for one in factors], return_inverse=True)
    return codes.astype(np.min_scalar_type(codes.max(initial=0)))  # small ones are compared faster


def _factors(spec: ModelSpec) -> dict[str, str]:
    factors = {key: repr(value) for key, value in spec.hyperparameters.items()}
    if spec.name == "nasbench201" and "architecture" in factors:
        operations = edge_operations(str(spec.hyperparameters["architecture"]))
        del factors["architecture"]
        factors.update({f"edge {edge}": operation for edge, operation in enumerate(operations)})
    return factors


def _balanced(codes: _Codes, count: int, seed: int, family: str) -> Sequence[int]:
    """Return the indices of a balanced sample of a family."""
    candidates = codes.shape[1]
    if count == candidates:
        return range(count)
    # Σ n_v² is the number of hyperparameters in which two members agree, added up over all pairs of them, and Σ n_vw²
    # that of pairs of hyperparameters. So a pair that agrees in k adds k to the one and k (k - 1) / 2 to the other.
    single = np.arange(len(codes) + 1)
    double = single * (single - 1) // 2
    strict = (count**2 * int(double[-1]) + 1) * single + double  # whatever Σ n_vw² is, Σ n_v² comes first
    samples: list[tuple[int, list[int]]] = []
    for start in range(_STARTS):
        order = np.array(_permutation(candidates, seed, family, start))  # what comes first wins where several are equal
        shuffled = codes.take(order, axis=1)  # in C order, unlike codes[:, order], in which sums take ten times as long
        members = _grown(shuffled, count, single + double)
        # With both sums weighed alike a way leads through samples of unequal n_v, which the second exchange mends.
        members = _exchanged(shuffled, members, single + double)
        members = _exchanged(shuffled, members, strict)
        imbalance = sum(int(_agreement(shuffled, member, strict)[members].sum()) for member in members)
        samples.append((imbalance, order[members].tolist()))
    return min(samples)[1]


def _grown(codes: _Codes, count: int, worth: _Integers) -> list[int]:
    """Return `count` candidates, each that which agrees least with those before it."""
    total = np.zeros(codes.shape[1], dtype=np.int64)
    barred = np.zeros_like(total)
    members: list[int] = []
    for _ in range(count):
        new = int((total + barred).argmin())
        members.append(new)
        barred[new] = _BARRED
        total += _agreement(codes, new, worth)
    return members


def _exchanged(codes: _Codes, members: Sequence[int], worth: _Integers) -> list[int]:
    """Return the members, each given up for the candidate that agrees least with the others until that is no gain."""
    members = list(members)
    total = np.zeros(codes.shape[1], dtype=np.int64)
    for member in members:
        total += _agreement(codes, member, worth)
    barred = np.zeros_like(total)
    barred[members] = _BARRED
    improved = True
    while improved:
        improved = False
        for position, old in enumerate(members):
            others = total - _agreement(codes, old, worth)
            new = int((others + barred).argmin())
            if others[new] < others[old]:
                total = others + _agreement(codes, new, worth)
                barred[[old, new]] = 0, _BARRED
                members[position] = new
                improved = True
    return members


def _agreement(codes: _Codes, candidate: int, worth: _Integers) -> _Integers:
    """Return for each candidate what its agreement with this one is worth, int64 [candidates]."""
    agreeing: npt.NDArray[np.uint8] = (codes == codes[:, candidate, None]).sum(axis=0, dtype=np.uint8)
    return worth.take(agreeing)  # unlike worth[agreeing], which takes four times as long


def _permutation(count: int, seed: int, *purpose: str | int) -> list[int]:
    return torch.randperm(count, generator=generator(seed, "stratified", *purpose)).tolist()
