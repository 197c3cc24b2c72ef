"""The verdict of a proxy evaluation in sentences: what ranks best, what beats the baseline, what loses to it."""

from __future__ import annotations

from collections.abc import Sequence

from search.output.numbers import count, plural
from search.proxies.cells import Row, cost, interval, known, plain, with_interval
from search.proxies.standings import (
    Standing,
    baseline_of,
    by_spearman,
    combined,
    distilled,
    families,
    in_subset,
    standing,
    top_sets,
    trains,
)

_VERBS: Sequence[tuple[Standing, str, str]] = (
    ("beats", "beats", "beat"),
    ("level", "is not distinguishable from", "are not distinguishable from"),
    ("loses", "loses to", "lose to"),
)


def headlines(answers: Sequence[Row], subsets: Sequence[Row], truths: Sequence[Row]) -> list[str]:
    """Return the sentences, as Markdown: distilled scores that lose to the baseline are told first."""
    ordered = by_spearman(answers)
    found = [*_losing_distilled(ordered), _best(ordered, subsets, truths), *_trained(answers), *_untrained(answers)]
    if baseline_of(answers) is None:
        found.append("There is no baseline, so that nothing says whether a score has earned its cost.")
    return found


def _losing_distilled(answers: Sequence[Row]) -> list[str]:
    losing = [row for row in answers if distilled(row["kind"]) and standing(row) == "loses"]
    return [f"**{_against_baseline(row)}**, at the price of {_costs(row)} an architecture." for row in losing]


def _best(answers: Sequence[Row], subsets: Sequence[Row], truths: Sequence[Row]) -> str:
    best = answers[0]
    if not known(best["spearman"]):
        return "No score has a rank correlation yet: it takes five architectures with a value and a known accuracy."
    name = best["proxy"]
    itself = ", the baseline itself," if standing(best) == "baseline" else ""
    said = [f"**{name}{itself} ranks best: Spearman {with_interval(best, 'spearman')}**"]
    said[0] += f" over {count(best['architectures'])} architectures, for {_costs(best)} an architecture."
    paid = [_costs(row) for row in [_mean_costs(truths)] if known(row["image_gradients"])]
    said += [f"The truth took {told} an architecture." for told in paid]
    low = best["spearman_low"]
    near = [row for row in answers[1:] if known(row["spearman"]) and known(low) and row["spearman"] >= low]
    if near:
        said.append(f"{_lie(len(near))} inside that interval, so who comes first is not settled.")
    for top in top_sets(subsets)[:1]:
        inside = in_subset(subsets, name, top)
        if inside is not None and known(inside["spearman"]):
            said.append(f"Among the true {top} its Spearman is {with_interval(inside, 'spearman')}.")
    return " ".join(said)


def _lie(others: int) -> str:
    return "Another score lies" if others == 1 else f"{others} other scores lie"


def _costs(row: Row) -> str:
    """Return what an architecture costs, in words; a score without gradients says nothing of them."""
    told = [cost(row["seconds"], "seconds")] if known(row["seconds"]) else []
    if row["image_gradients"]:
        told.append(f"{cost(row['image_gradients'], 'image_gradients')} image-gradients")
    return " and ".join(told) or "a cost that is not known"


def _mean_costs(truths: Sequence[Row]) -> Row:
    done = [row for row in truths if known(row["accuracy"])]
    means: dict[str, float | None] = {}
    for unit in ("seconds", "image_gradients"):
        paid = [row[unit] for row in done]
        means[unit] = sum(paid) / len(paid) if paid and all(map(known, paid)) else None
    return means


def _trained(answers: Sequence[Row]) -> list[str]:
    """Return a sentence for each family that trains, and each combination: its best reading against the baseline."""
    found = []
    for name, readings in families(answers).items():
        held = [row for row in readings if standing(row) not in ("baseline", "unknown")]
        if not held or not (trains(held[0]["kind"]) or combined(held[0]["kind"])):
            continue
        if distilled(held[0]["kind"]) and standing(held[0]) == "loses":
            continue  # it has been told, and first
        of = f", the best of the {len(readings)} readings of {name}" if len(readings) > 1 else ""
        found.append(f"{_against_baseline(held[0])}{of}.")
    return found


def _against_baseline(row: Row) -> str:
    name, baseline, lead = row["proxy"], row["baseline"], row["advantage"]
    found = standing(row)
    if found == "beats":
        return f"{name} beats {baseline} by {plain(lead)}{interval(row, 'advantage')}"
    if found == "loses":
        low, high = plain(-row["advantage_high"]), plain(-row["advantage_low"])
        return f"{name} LOSES to {baseline} by {plain(-lead)} [{low}, {high}]"
    return f"{name} is not distinguishable from {baseline} ({lead:+z.2f}{interval(row, 'advantage')})"


def _untrained(answers: Sequence[Row]) -> list[str]:
    """Return one sentence for all scores of untrained networks."""
    held = [row for row in answers if not trains(row["kind"]) and not combined(row["kind"])]
    held = [row for row in held if standing(row) not in ("baseline", "unknown")]
    if not held:
        return []
    told = []
    for which, one, several in _VERBS:
        names = [row["proxy"] for row in by_spearman(held) if standing(row) == which]
        if names:
            told.append(f"{len(names)} {one if len(names) == 1 else several} it ({', '.join(names)})")
    return [f"Of {plural(len(held), 'score')} of untrained networks, against {held[0]['baseline']}: {'; '.join(told)}."]
