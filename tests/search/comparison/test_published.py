"""Curves of a paper, read from a CSV file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dp_core.errors import UserError
from search.comparison.published import read_published


def write(folder: Path, text: str) -> Path:
    path = folder / "curves.csv"
    path.write_text(text)
    return path


def test_curves_are_read_by_method_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "method,round,sparsity,test_accuracy_mean\nimp,0,0.0,0.81\ndp,0,0.0,0.8\nimp,1,0.2,0.82\ndp,1,0.36,0.79\n"
    curves = read_published(write(tmp_path, text))
    assert curves == [("imp", [0.0, 0.2], [0.81, 0.82]), ("dp", [0.0, 0.36], [0.8, 0.79])]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("method,sparsity\nimp,0.1\n", "has no column 'test_accuracy_mean'"),
        ("name,sparsity,test_accuracy_mean\nimp,0.1,0.5\n", "has no column 'method'"),
        ("method,sparsity,test_accuracy_mean\nimp,0.1,81.0\n", "81.0 is not from 0 to 1"),
        ("method,sparsity,test_accuracy_mean\nimp,-0.1,0.5\n", "-0.1 is not from 0 to 1"),
        ("method,sparsity,test_accuracy_mean\nimp,nan,0.5\n", "nan is not from 0 to 1"),
        ("method,sparsity,test_accuracy_mean\nimp,0.1,high\n", "is no table of published curves"),
        ("method,sparsity,test_accuracy_mean\nimp,0.1\n", "is no table of published curves"),
    ],
)
def test_what_is_no_table_of_curves_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        read_published(write(tmp_path, text))
    assert "curves.csv" in str(caught.value)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_curves_of_two_data_sets_are_not_mixed(tmp_path: Path) -> None:
    text = "data,method,sparsity,test_accuracy_mean\na,imp,0.2,0.8\na,dp,0.2,0.9\nb,imp,0.200,0.6\n"
    with pytest.raises(UserError) as caught:
        read_published(write(tmp_path, text))
    told = "has more than one accuracy of imp at 0.2: keep the rows of one data set and network."
    assert str(caught.value) == f"{tmp_path / 'curves.csv'} {told}"


@pytest.mark.parametrize("name", ["nowhere.csv", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_published(tmp_path / name)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "curves.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match="is no table of published curves"):
        read_published(tmp_path / "curves.csv")
