"""Reading a run directory and writing its report as one HTML file that loads nothing from anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dp_core.errors import UserError
from dp_core.files import write_text
from search import tables
from search.report import facts, figures, formats

MOST_ROWS = 200
"""Rows of the table of stopped and failed trials; the rest is in trials.parquet."""


def write_report(run_directory: Path) -> Path:
    """Write `report.html` into the run directory from its `run.yaml` and whichever tables exist; return its path.

    Raises UserError if the directory is no run, or if one of the files is not readable.
    """
    record = _record(run_directory / "run.yaml")
    rounds = _rows(run_directory / "rounds.parquet", tables.ROUNDS)
    trials = _rows(run_directory / "trials.parquet", tables.TRIALS)
    leaderboard = _rows(run_directory / "leaderboard.parquet", tables.LEADERBOARD)
    path = run_directory / "report.html"
    write_text(path, _render(run_directory.resolve().name, record, rounds, trials, leaderboard))
    return path


def _render(
    name: str,
    record: Mapping[str, Any],
    rounds: Sequence[facts.Row],
    trials: Sequence[facts.Row],
    leaderboard: Sequence[facts.Row],
) -> str:
    unsuccessful = facts.unsuccessful(trials)
    costs = facts.cost_by_source(trials)
    return _template().render(
        name=name,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        finished=facts.is_finished(trials, leaderboard),
        headline=facts.headline(trials, leaderboard),
        cards=facts.cards(trials, leaderboard),
        leaderboard=sorted(leaderboard, key=lambda row: int(row["rank"])),
        replicates=facts.replicates(trials, leaderboard),
        trust=facts.trust(leaderboard),
        costs=costs,
        unsuccessful=unsuccessful[:MOST_ROWS],
        unsuccessful_count=len(unsuccessful),
        record=_sections(record),
        figures=_figures(rounds, trials, leaderboard, costs),
        most_curves=figures.MOST_CURVES,
        style=Markup(_asset("report.css")),
        script=Markup(_asset("report.js")),
        plotly=Markup(get_plotlyjs()),
    )


def _figures(
    rounds: Sequence[facts.Row],
    trials: Sequence[facts.Row],
    leaderboard: Sequence[facts.Row],
    costs: Sequence[facts.SourceCost],
) -> dict[str, Markup]:
    """Return the figures that have something to show; Plotly's JSON has its `<` and `>` escaped already."""
    palette = figures.colours(trials, leaderboard)
    made = {}
    if leaderboard:
        made["trust"] = figures.proxy_against_test(leaderboard, palette)
    if any(row["proxy_accuracy"] is not None for row in trials):
        made["sparsity"] = figures.accuracy_against_sparsity(trials, palette)
    if rounds and trials:
        made["rounds"] = figures.accuracy_over_rounds(trials, rounds, palette)
    if costs:
        made["seconds"] = figures.seconds_by_source(costs, palette)
        made["gradients"] = figures.gradients_by_source(costs, palette)
    return {name: Markup(text) for name, text in made.items()}


def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    for filter_ in (formats.percent, formats.count, formats.magnitude, formats.duration):
        environment.filters[filter_.__name__] = filter_
    environment.globals["accuracy"] = formats.accuracy
    environment.globals["proxy"] = formats.proxy
    return environment.from_string(_asset("report.html.j2"))


def _asset(name: str) -> str:
    """Return one of the package's own files."""
    return (files("search.report") / name).read_text(encoding="utf-8")


def _record(path: Path) -> dict[str, Any]:
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent}: this is not a run directory, since it holds no {path.name}.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: this is not a readable YAML file ({reason}).") from error
    if not isinstance(record, dict):
        raise UserError(f"{path}: a mapping of keys to values was expected.")
    return record


def _rows(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Return the table's rows, or none if it was not written yet."""
    if not path.exists():
        return []
    rows = tables.read_rows(path)
    missing = [name for name in schema.names if rows and name not in rows[0]]
    if missing:
        raise UserError(f"{path}: column '{missing[0]}' is missing.")
    return rows


def _sections(record: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return run.yaml as titled tables of dotted keys and values: one for what is not nested, one a mapping in it."""
    plain = [(str(key), _text(value)) for key, value in record.items() if not isinstance(value, Mapping)]
    nested = [(str(key), list(_flat(value, ""))) for key, value in record.items() if isinstance(value, Mapping)]
    return [(title, rows) for title, rows in [("command and seed", plain), *nested] if rows]


def _flat(value: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(item)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
