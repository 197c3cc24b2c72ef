from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from rich.console import Console

from search.pipeline.leaderboard_sheet import leaderboard_sheet, recipes_sheet

MODEL: dict[str, Any] = {
    "rank": 1,
    "trial": 12,
    "audited": False,
    "method": "ticket",
    "recipe": "5epochs-abc123",
    "recipe_settings": "{}",
    "epochs": 5,
    "test_accuracy": 0.61234,
    "test_accuracy_std": None,
    "seeds": 1,
    "proxy_accuracy": 0.42,
    "proxy_accuracy_sem": None,
    "sparsity": 0.951,
    "prunable_parameters": 38_000_000,
    "parameters": 40_000_000,
    "parameters_left": 1871232,
    "architecture": "convnet depth=3 width=128 norm=instance activation=relu pooling=average",
    "source": "distilled",
    "ipc": None,
    "steps": 250,
    "screening_seconds": 1234.5,
    "retraining_seconds": 12345.6,
}


def printed(rows: Sequence[Mapping[str, Any]], width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(leaderboard_sheet(rows))
    return capture.get()


@pytest.mark.parametrize("width", [90, 100, 140])
def test_the_terminal_leaderboard_shows_every_figure(width: int) -> None:
    second = {**MODEL, "rank": 2, "test_accuracy": 0.59, "test_accuracy_std": 0.0123, "seeds": 3, "ipc": 50}
    text = printed([MODEL, second], width)
    assert max(len(line) for line in text.splitlines()) <= width
    for figure in ("61.23", "59.00 ± 1.23", "42.0", "95.1", "1,871,232", " 50 ", " 250 ", "1,234", "12,346"):
        assert figure in text


@pytest.mark.parametrize("width", [100, 140])
def test_methods_are_told_where_there_are_others_than_the_tickets(width: int) -> None:
    text = printed([MODEL, {**MODEL, "rank": 2, "method": "one_shot"}, {**MODEL, "rank": 3, "method": None}], width)
    assert max(len(line) for line in text.splitlines()) <= width
    for word in ("ticket", "one_shot", "61.23", "1,871,232", "12,346"):
        assert word in text
    assert "ticket" not in printed([MODEL, {**MODEL, "rank": 2, "method": None}], width)


def test_below_stands_how_many_parameters_the_sparsities_are_about() -> None:
    other = {**MODEL, "rank": 2, "prunable_parameters": 8739, "parameters": 9130}
    same = {**MODEL, "rank": 3}
    alone = "Prunable are 38,000,000 of 40,000,000 parameters; 5.0 % are outside the sparsity."
    assert printed([MODEL, same], 140).splitlines()[-1].strip() == alone
    told = " ".join(printed([MODEL, other, same], 140).split())
    assert "rank 1, 3: 38,000,000 of 40,000,000 (5.0 % outside); rank 2: 8,739 of 9,130 (4.3 % outside)." in told
    before = {key: value for key, value in MODEL.items() if key not in ("prunable_parameters", "parameters")}
    assert "runable" not in printed([before], 140)


def test_one_seed_shows_no_deviation() -> None:
    assert "±" not in printed([{**MODEL, "test_accuracy_std": 0.0, "seeds": 1}], 100)


@pytest.mark.parametrize("width", [90, 140])
def test_a_mean_over_replicates_shows_its_standard_error(width: int) -> None:
    replicated = {**MODEL, "proxy_accuracy": 0.31, "proxy_accuracy_sem": 0.0082, "replicates": 4}
    text = printed([{**replicated, "test_accuracy_std": 0.0123, "seeds": 3}], width)
    assert max(len(line) for line in text.splitlines()) <= width
    for figure in ("61.23 ± 1.23", "31.0 ± 0.8", "95.1", "1,871,232", "1,234", "12,346"):
        assert figure in text


def test_what_represents_no_ticket_is_shown_apart_by_its_validation_accuracy() -> None:
    told = {"validation_accuracy": 0.6, "recipe_settings": '{"learning_rate": 0.1, "epochs": 5.0}'}
    other = {"rank": None, "recipe": "9epochs-fff000", "epochs": 9, "test_accuracy": 0.99, "validation_accuracy": 0.55}
    second = {**MODEL, **told, **other, "recipe_settings": '{"learning_rate": 0.2, "epochs": 9.0}'}
    alone = {**MODEL, **told, "rank": 2, "trial": 13, "test_accuracy": 0.5}
    rows = [{**MODEL, **told}, alone, second]
    assert "99.00" not in printed(rows, 140)
    assert recipes_sheet(rows[:2]) is None
    console = Console(width=140, color_system=None)
    with console.capture() as capture:
        console.print(recipes_sheet(rows))
    *_, first, last = capture.get().splitlines()
    assert first.split() == ["12", "60.00", "5", "1", "12,346", "1", "5epochs-abc123", "learning_rate=0.1"]
    assert last.split() == ["12", "55.00", "9", "1", "12,346", "-", "9epochs-fff000", "learning_rate=0.2"]


def test_brackets_in_a_name_are_not_markup() -> None:
    assert "[bold]net[/bold]" in printed([{**MODEL, "architecture": "[bold]net[/bold]"}], 140)


def test_an_accuracy_that_is_not_a_number_is_a_dash() -> None:
    assert "nan" not in printed([{**MODEL, "test_accuracy": math.nan}], 100)


def test_a_model_that_was_drawn_for_the_audit_says_so() -> None:
    text = printed([MODEL, {**MODEL, "rank": 2, "audited": True}], 90)
    assert text.count("audit") == 1
    (line,) = [line for line in text.splitlines() if "audit" in line]
    assert line.startswith("audit 2")
    assert max(len(line) for line in text.splitlines()) <= 90
