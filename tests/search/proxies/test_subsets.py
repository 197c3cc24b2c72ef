from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from search.proxies.subsets import subsets


def _found(truth: list[float], parameters: list[int]) -> dict[str, list[int]]:
    found = subsets(np.array(truth, float), np.array(parameters, np.int64))
    return {subset.name: subset.indices.tolist() for subset in found}


def test_of_120_architectures() -> None:
    # The truth falls with the row; sizes rise by 1,000 from 1,000, so the thirds end at 40,000 and 80,000.
    found = _found([1 - row / 200 for row in range(120)], [1_000 * (row + 1) for row in range(120)])
    assert found == {
        "all": list(range(120)),
        "top 5": list(range(5)),
        "top 10": list(range(10)),
        "top 20": list(range(20)),
        "top 10 %": list(range(12)),
        "parameters <= 40k": list(range(40)),
        "40k < parameters <= 80k": list(range(40, 80)),
        "parameters > 80k": list(range(80, 120)),
    }


def test_ties_at_the_border_of_a_top_set_are_all_in_it() -> None:
    found = _found([0.1, 0.9, 0.5, 0.8, 0.5, 0.7, 0.6, 0.5, 0.2], [1] * 9)
    assert found["top 5"] == [1, 2, 3, 4, 5, 6, 7]


def test_what_is_small_or_the_whole_is_left_out() -> None:
    assert list(_found([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])) == ["all"]
    assert list(_found([1] * 30, [7] * 30)) == ["all"]
    assert list(_found([1] * 30, [7] * 26 + [8] * 4)) == ["all", "parameters <= 7"]
    assert _found([], []) == {"all": []}


def test_unknown_truth_is_in_no_subset() -> None:
    found = _found([math.nan, 6, 5, 4, 3, 2, math.inf, 1], [9, 1, 2, 3, 4, 5, 9, 6])
    assert found["all"] == [1, 2, 3, 4, 5, 7]
    assert found["top 5"] == [1, 2, 3, 4, 5]


def test_names_are_round_and_true() -> None:
    sizes = [119_832] * 5 + [151_000] * 5 + [1_871_232] * 5
    assert list(_found([0.0] * 15, sizes))[1:] == [
        "parameters <= 120k",
        "120k < parameters <= 160k",
        "parameters > 160k",
    ]
    # 120k would not separate these two, 119.9k does; 151k is followed by 151,001, so nothing rounder is.
    close = [119_832] * 5 + [119_950, *[151_000] * 4] + [151_001] * 5
    assert list(_found([0.0] * 15, close))[1:3] == ["parameters <= 119.9k", "119.9k < parameters <= 151k"]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3_000_000)), min_size=1, max_size=60))
def test_laws(rows: list[tuple[int, int]]) -> None:
    truth, parameters = [float(row[0]) for row in rows], [row[1] for row in rows]
    found = _found(truth, parameters)
    seen: set[int] = set()
    for name, indices in found.items():
        assert indices == sorted(indices)
        if name == "all":
            continue
        assert 5 <= len(indices) < len(rows)
        rest = set(range(len(rows))) - set(indices)
        if name.startswith("top"):
            assert min(truth[row] for row in indices) > max(truth[row] for row in rest)
        else:
            assert not seen & set(indices)
            seen |= set(indices)
            assert not {parameters[row] for row in indices} & {parameters[row] for row in rest}
            assert indices == [row for row in range(len(rows)) if _fits(parameters[row], name)]


def _fits(parameters: int, name: str) -> bool:
    """Whether the name of a bucket, read literally, is true of such an architecture."""
    units = {"k": 10**3, "M": 10**6}
    words = [
        str(round(float(word[:-1]) * units[word[-1]])) if word[-1] in units else word
        for word in name.replace("parameters", str(parameters)).split()
    ]
    comparisons = zip(words[:-2:2], words[1::2], words[2::2], strict=True)
    return all({"<": int(a) < int(b), "<=": int(a) <= int(b), ">": int(a) > int(b)}[sign] for a, sign, b in comparisons)
