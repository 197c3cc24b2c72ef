"""What `winnow distill evaluate` found, for the terminal and as Markdown."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dp_core.distillation.evaluation import leads
from search.output.numbers import ABSENT, magnitude, percent
from search.output.sheet import Sheet

Rows = Sequence[Mapping[str, Any]]
_CONTROL = "random_images"


def evaluation_sheets(rows: Rows) -> list[Sheet]:
    """Return a sheet for each measure of the rows of `evaluate`."""
    makers: Mapping[str, Callable[[Rows], Sheet]] = {
        "test_accuracy": _accuracy_sheet,
        "pool": _pool_sheet,
        "few_steps": _few_steps_sheet,
        "mask_quality": _mask_quality_sheet,
        "mask_agreement": _agreement_sheet,
        "feature_distance": _distance_sheet,
    }
    by_measure = {measure: [row for row in rows if row["measure"] == measure] for measure in makers}
    return [makers[measure](own) for measure, own in by_measure.items() if own]


def evaluation_markdown(rows: Rows) -> str:
    """Return the same as Markdown, to be committed beside a set."""
    return "\n".join(sheet.markdown() for sheet in evaluation_sheets(rows))


def pool_note(rows: Rows) -> str:
    """Return in two sentences by how much a set leads random images on average, and where it does not.

    Args:
        rows: of the measure `pool`: of one set and of random images, on the same architectures.
    """
    found = _pool_leads(rows)
    behind = [architecture for architecture, lead in found.items() if lead <= 0]
    lead = 100 * statistics.fmean(found.values())
    text = f"On average the set leads random images by {lead:+.1f} points over {len(found)} networks."
    if not behind:
        return f"{text} It beats them on every one."
    return f"{text} It does not beat them on {len(behind)} of them: {'; '.join(behind)}."


def _accuracy_sheet(rows: Rows) -> Sheet:
    cells = {(row["architecture"], row["set"]): _accuracy(row) for row in rows}
    networks, steps = rows[0]["networks"], rows[0]["steps"]
    note = (
        f"Mean ± sample standard deviation over {networks} network{'s' if networks > 1 else ''} of {steps} steps, and "
        f"in brackets the learning rate that validation images chose (* the set's own, with SGD)."
    )
    return _grid("Test accuracy, %", "Architecture", cells, note)


def _pool_sheet(rows: Rows) -> Sheet:
    means = {(row["architecture"], row["set"]): percent(row["accuracy_mean"]) for row in rows}
    found = _pool_leads(rows)
    ordered = sorted(found, key=found.__getitem__)
    name = _name_of_set(rows)
    lines = [
        [each, means[each, name], means[each, _CONTROL], f"{100 * found[each]:+.1f}"] for each in ordered
    ]  # the worst first
    title = "Test accuracy by norm, activation and pooling, %"
    return Sheet(["Architecture", _heading(name), _CONTROL, "Lead"], lines, title, pool_note(rows))


def _few_steps_sheet(rows: Rows) -> Sheet:
    several = len({row["architecture"] for row in rows}) > 1
    cells = {
        (f"{row['source']}, {row['architecture']}" if several else row["source"], _steps(row)): percent(row["accuracy"])
        for row in rows
    }
    note = f"Fresh networks ({rows[0]['architecture']}); real data at the same number of steps and image-gradients."
    return _grid("Validation accuracy after few steps, %", "Trained on", cells, note)


def _mask_quality_sheet(rows: Rows) -> Sheet:
    trained = [row for row in rows if row["steps"] is not None]
    cells = {(row["source"], f"{_steps(row)} a round"): percent(row["accuracy"]) for row in trained}
    cells |= {(row["source"], "no search"): percent(row["accuracy"]) for row in rows if row["steps"] is None}
    cost = ", ".join(magnitude(each) for each in sorted({row["image_gradients"] for row in trained}))
    note = (
        f"Tickets at {percent(trained[0]['sparsity'])} % sparsity after {trained[0]['rounds']} rounds, retrained on "
        f"real data from initialisation; finding one took {cost} image-gradients."
    )
    return _grid("Validation accuracy of tickets, %", "Mask found on", cells, note)


def _agreement_sheet(rows: Rows) -> Sheet:
    keys = ("intersection_over_union", "chance", "above_chance")
    lines = [[row["source"], *(percent(row[key]) for key in keys)] for row in rows]
    note = (
        f"Weights that both keep at {percent(rows[0]['sparsity'])} % sparsity over those that one keeps; chance: "
        f"independent masks of the same layer-wise densities; above chance: 0 at chance, 100 for equal masks."
    )
    headings = ["Trained on", "Overlap", "Chance", "Above chance"]
    return Sheet(headings, lines, "Mask agreement with real data, %", note)


def _distance_sheet(rows: Rows) -> Sheet:
    keys = ("mean_distance", "random_mean_distance", "frechet_distance")
    lines = [[row["source"], *(f"{row[key]:.3g}" for key in keys)] for row in rows]
    headings = ["Images", "Means", "Means, random expected", "Fréchet"]
    note = "Squared distances by class, divided by the number of features, of a network trained on real data."
    return Sheet(headings, lines, "Distance of features to real images", note)


def _grid(title: str, corner: str, cells: Mapping[tuple[str, str], str], note: str) -> Sheet:
    """Return a sheet of cells by (line, column), both in the order in which they come first."""
    names, columns = (list(dict.fromkeys(key[place] for key in cells)) for place in (0, 1))
    lines = [[name, *(cells.get((name, column), ABSENT) for column in columns)] for name in names]
    return Sheet([corner, *map(_heading, columns)], lines, title, note)


def _heading(name: str) -> str:
    """Return the name of a set in lines that are not much wider than figures."""
    return "\n".join(textwrap.wrap(name, 16, break_long_words=False))


def _accuracy(row: Mapping[str, Any]) -> str:
    spread = "" if row["accuracy_std"] is None else f" ± {percent(row['accuracy_std'])}"
    own = "*" if row["optimizer"] == "sgd" else ""
    return f"{percent(row['accuracy_mean'])}{spread} ({row['learning_rate']:.2g}{own})"


def _steps(row: Mapping[str, Any]) -> str:
    return f"{row['steps']} steps"


def _name_of_set(rows: Rows) -> str:
    return next(str(row["set"]) for row in rows if row["set"] != _CONTROL)


def _pool_leads(rows: Rows) -> dict[str, float]:
    return leads(rows, _name_of_set(rows), _CONTROL)
