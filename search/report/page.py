"""Reading a run directory and writing its report as one HTML file that loads nothing from anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dp_core.files import write_text
from search.config.objectives import Objective
from search.output import numbers
from search.output.prunable import prunable_of
from search.output.tables import read_rows
from search.pipeline.bad_ends import BadEnd, read_bad_ends
from search.pipeline.leaderboard_sheet import has_methods, several_recipes
from search.pipeline.promotion_file import Promotion, read_promotion
from search.pipeline.retraining_plan import what_differs
from search.pipeline.tables import LEADERBOARD, ROUNDS, TRIALS, last_round, rounds_by_trial
from search.report import facts, figures, front_figures, plotting
from search.report.front import SHOWN, front, growth
from search.report.full_search import bills
from search.report.provenance import gradients_a_training, objectives_in, read_record, recipe_of, sections
from search.report.rungs import stages_by_round, stages_by_rung
from search.report.trust import trust
from search.runs.directory import RunDirectory
from search.runs.record import judged_otherwise

MOST_ROWS = 200
"""Rows of the table of stopped and failed trials; the rest is in trials.parquet."""

MOST_OF_FRONT = 50
"""Rows of the table of the Pareto front."""


@dataclass(frozen=True)
class _Run:
    """What the run directory holds."""

    name: str
    record: Mapping[str, Any]
    rounds: facts.Rounds
    trials: Sequence[facts.Row]
    board: Sequence[facts.Row]
    promotion: Promotion
    bad_ends: Sequence[BadEnd]

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return objectives_in(self.record)

    @property
    def leaderboard(self) -> list[facts.Row]:
        """A row for each ticket."""
        return sorted((row for row in self.board if row["rank"] is not None), key=lambda row: int(row["rank"]))

    @property
    def alike(self) -> list[facts.Row]:
        """The rows of one recipe: the run's own or, where it has made nothing yet, that of most models."""
        recipes = Counter(row["recipe"] for row in self.board)
        own = recipe_of(self.record)
        recipe = own if own in recipes else max(recipes, key=lambda recipe: recipes[recipe], default=None)
        return [row for row in self.board if row["recipe"] == recipe]

    @property
    def judged(self) -> list[facts.Row]:
        """Those that the last promotion chose, by its recipe: a run that went on for more trials has had others."""
        chosen, recipe = self.promotion.chosen, self.promotion.recipe
        rows = self.alike if recipe is None else [row for row in self.board if row["recipe"] == recipe]
        return [row for row in rows if not chosen or row["trial"] in chosen]


def write_report(run_directory: Path) -> Path:
    """Write `report.html` into the run directory from its `run.yaml` and whichever tables exist; return its path.

    Raises UserError if the directory is no run, or if one of the files is not readable.
    """
    directory = RunDirectory(run_directory)
    run = _Run(
        name=run_directory.resolve().name,
        record=read_record(run_directory / "run.yaml"),
        rounds=rounds_by_trial(_rows(run_directory / "rounds.parquet", ROUNDS)),
        trials=_rows(run_directory / "trials.parquet", TRIALS),
        board=_rows(run_directory / "leaderboard.parquet", LEADERBOARD),
        promotion=read_promotion(directory.promotion) or Promotion((), (), 0),
        bad_ends=read_bad_ends(directory.bad_ends),
    )
    path = run_directory / "report.html"
    write_text(path, _render(run))
    return path


def _render(run: _Run) -> str:
    trials, leaderboard, promotion = run.trials, run.leaderboard, run.promotion
    unsuccessful = facts.unsuccessful(trials)
    costs = facts.cost_by_source(trials)
    several = run.objectives if len(run.objectives) > 1 else ()
    members = front(trials, several) if several else []
    return _template().render(
        name=run.name,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        finished=facts.is_finished(trials, leaderboard),
        headline=facts.headline(trials, leaderboard),
        judged_otherwise=judged_otherwise(run.record),
        cards=facts.cards(trials, run.board),
        leaderboard=leaderboard,
        methods=has_methods(leaderboard),
        recipes=(recipes := several_recipes(run.board)),
        differences=what_differs([row["recipe_settings"] for row in recipes]),
        bad_ends=run.bad_ends,
        replicates=facts.replicates(trials, leaderboard),
        trust=trust(
            run.judged,
            promotion.population,
            len(set(promotion.audited).intersection(promotion.lost)),
            frozenset(promotion.further),
        ),
        bills=bills(trials, run.rounds, run.alike, gradients_a_training(run.record)),
        objectives=several,
        shown=SHOWN,
        front=members[:MOST_OF_FRONT],
        front_count=len(members),
        rungs=stages_by_rung(trials, run.rounds),
        milestones=stages_by_round(trials, run.rounds),
        costs=costs,
        unsuccessful=unsuccessful[:MOST_ROWS],
        unsuccessful_count=len(unsuccessful),
        reasons=facts.reasons(trials),
        rejections=facts.rejections(trials),
        record=sections(run.record),
        figures=_figures(run, costs, members),
        most_curves=figures.MOST_CURVES,
        style=Markup(_asset("report.css")),
        script=Markup(_asset("report.js")),
        plotly=Markup(get_plotlyjs()),
    )


def _figures(run: _Run, costs: Sequence[facts.SourceCost], members: Sequence[facts.Row]) -> dict[str, Markup]:
    """Return the figures that have something to show; Plotly's JSON has its `<` and `>` escaped already."""
    trials = run.trials
    palette = plotting.colours(trials, run.leaderboard)
    made = {}
    if run.alike:
        made["trust"] = figures.proxy_against_test(run.alike, palette)
    if members:
        made["front"] = front_figures.pareto_front(trials, members, run.objectives, palette)
        if grown := growth(trials, run.objectives):
            made["growth"] = front_figures.hypervolume_growth(grown, palette)
    if any(row["proxy_accuracy"] is not None for row in trials):
        made["sparsity"] = figures.accuracy_against_sparsity(trials, palette)
    if run.rounds and trials:
        made["rounds"] = figures.accuracy_over_rounds(trials, run.rounds, palette)
    if costs:
        made["seconds"] = figures.seconds_by_source(costs, palette)
        made["gradients"] = figures.gradients_by_source(costs, palette)
    return {name: Markup(text) for name, text in made.items()}


def _template() -> Template:
    environment = Environment(
        loader=FunctionLoader(_asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for filter_ in (
        numbers.percent,
        numbers.count,
        numbers.magnitude,
        numbers.duration,
        numbers.times,
        numbers.milliseconds,
        facts.outcome,
        last_round,
    ):
        environment.filters[filter_.__name__] = filter_
    environment.filters["prunable"] = lambda row: prunable_of(row) or numbers.ABSENT
    for function in (numbers.accuracy, numbers.proxy, numbers.correlation):
        environment.globals[function.__name__] = function
    return environment.get_template("report.html.j2")


def _asset(name: str) -> str:
    """Return one of the package's own files."""
    return (files("search.report") / name).read_text(encoding="utf-8")


def _rows(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Return the table's rows, or none if it was not written yet."""
    return read_rows(path, schema) if path.exists() else []
