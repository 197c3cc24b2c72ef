"""All answers of a proxy evaluation on one Markdown page, the verdict first."""

from __future__ import annotations

from collections.abc import Sequence

from search.output.numbers import ABSENT, count, magnitude, percent
from search.output.sheet import Sheet
from search.proxies.budget_section import budget_section
from search.proxies.cells import Row, difference, known, seconds, with_interval
from search.proxies.headlines import headlines
from search.proxies.notes import failure_notes, reading_notes, truth_notes
from search.proxies.sheets import AT_RANDOM, NOTHING
from search.proxies.standings import baseline_of, by_spearman, in_subset

_ROUNDING = 1e-9
"""What expected accuracies may be off by: less than that is not worse than chance."""


def page_body(
    answers: Sequence[Row],
    subsets: Sequence[Row],
    regrets: Sequence[Row],
    hits: Sequence[Row],
    failures: Sequence[Row],
    truths: Sequence[Row],
    within: float = 0.005,
    unfinished: str = "",
    foreign_sets: Sequence[str] = (),
) -> str:
    """Return the sections of an evaluation's page; without answers it says first that there is nothing yet.

    Args:
        answers: a row for each score.
        subsets: for each score and subset of the architectures.
        regrets: for each score and k.
        hits: for each way to choose and unit of cost, what it takes to come near to the best.
        failures: for each score and architecture without a value.
        truths: for each architecture.
        within: how near to the best accuracy, as a fraction, the table of budgets asks the chosen one to be.
        unfinished: what is still to be done, as a sentence says it; "" for nothing.
        foreign_sets: distilled sets that were not made from this split's training images.
    """
    ordered = by_spearman(answers)
    names = list(dict.fromkeys(row["subset"] for row in subsets))
    tops = [name for name in names if name.startswith("top ")]
    buckets = [name for name in names if name not in ("all", *tops)]
    sections = {
        "How well each score ranks, and its cost": _overall(ordered),
        "Among the truly best": _inside(ordered, subsets, tops),
        "Among architectures of similar size": _inside(ordered, subsets, buckets),
        "What trusting a score costs": _regret(ordered, regrets),
        "What budget a score deserves": budget_section(hits, [row["proxy"] for row in ordered], within),
        "How the truth was found": truth_notes(truths),
        "Failures": failure_notes(failures, truths),
        "How to read this": reading_notes(answers, len(names) > 1) if answers else "",
    }
    verdict = "\n".join(f"- {line}" for line in headlines(answers, subsets, truths)) if answers else NOTHING
    if foreign_sets:
        verdict += (
            f"\n- The distilled sets {', '.join(foreign_sets)} were not made from this run's training images, so that "
            "they may have been made from some of the held-back images that score them: their scores may flatter them."
        )
    if unfinished:
        verdict = (
            f"**Unfinished: {unfinished} The most expensive architectures come first, so that what follows is about "
            f"some of them only, and not the same ones for every score.**\n\n{verdict}"
        )
    told = [f"## {heading}\n\n{text.rstrip()}" for heading, text in sections.items() if text]
    return "\n\n".join([verdict, *told]) + "\n"


def _overall(answers: Sequence[Row]) -> str:
    if not answers:
        return ""
    baseline = baseline_of(answers)
    headings = ["Score", "Architectures", "Spearman [95 %]", "Kendall [95 %]"]
    headings += [f"Against {baseline}"] if baseline is not None else []
    headings += ["Seconds", "Processor s", "Image-\ngradients", "FLOPs"]
    lines = []
    for row in answers:
        failed = f" ({row['failed']:,} failed)" if row["failed"] else ""
        ranked = [with_interval(row, "spearman"), with_interval(row, "kendall")]
        lead = [] if baseline is None else ["baseline" if row["proxy"] == baseline else difference(row)]
        spent = [seconds(row["seconds"]), seconds(row["processor_seconds"])]
        spent += [magnitude(row["image_gradients"]), magnitude(row["flops"])]
        lines.append([row["proxy"], f"{count(row['architectures'])}{failed}", *ranked, *lead, *spent])
    return Sheet(headings, lines).markdown()


def _inside(answers: Sequence[Row], subsets: Sequence[Row], names: Sequence[str]) -> str:
    """Return Spearman's rho of each score inside each of the subsets, and in all architectures."""
    if not names:
        return ""
    sizes = {name: max(row["architectures"] for row in subsets if row["subset"] == name) for name in names}
    lines = []
    for row in answers:
        found = [in_subset(subsets, row["proxy"], name) for name in names]
        cells = [ABSENT if cell is None else with_interval(cell, "spearman") for cell in found]
        lines.append([row["proxy"], *cells, with_interval(row, "spearman")])
    headings = [f"{name.replace('<', '&lt;').replace('>', '&gt;')} ({size:,})" for name, size in sizes.items()]
    return Sheet(["Spearman of", *headings, "all"], lines).markdown()


def _regret(answers: Sequence[Row], regrets: Sequence[Row]) -> str:
    chosen = sorted({row["k"] for row in regrets})
    if not chosen:
        return ""
    found = {(row["proxy"], row["k"]): row["regret"] for row in regrets}
    control = {row["k"]: row["random_regret"] for row in regrets}
    lines = [[AT_RANDOM, *(percent(control[k], 2) for k in chosen)]]
    worse = False
    for row in answers:
        cells = []
        for k in chosen:
            lost = found.get((row["proxy"], k))
            beaten = known(lost) and lost > control[k] + _ROUNDING
            worse = worse or beaten
            cells.append(f"{percent(lost, 2)}{' †' if beaten else ''}")
        lines.append([row["proxy"], *cells])
    note = "\n†: worse than choosing at random.\n" if worse else ""
    return Sheet(["Points lost by", *(f"top {k}" for k in chosen)], lines).markdown() + note
