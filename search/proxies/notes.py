"""What a reader has to know of the truth, the failures and the figures of a proxy evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev

from search.output.numbers import count, percent, plural
from search.output.rows import finite, grouped
from search.output.sheet import Sheet
from search.proxies.cells import Row, cost, known
from search.proxies.standings import baseline_of

_FEW = 3
_MOST_GROUPS = 20
_LONGEST = 200
"""Characters of a reason that are shown."""


def truth_notes(truths: Sequence[Row]) -> str:
    """Return how the truth was found and how sure it is, as Markdown; "" without rows."""
    reached = finite(truths, "accuracy")
    if not reached:
        return ""
    said = [
        _where_from(truths, len(reached)),
        f"Accuracies lie between {percent(min(reached))} and {percent(max(reached))} %.",
    ]
    said += [*_spread(truths, reached), *_spent(truths)]
    return "\n".join([*(f"- {note}" for note in said), "", *_rates(truths)]).rstrip()


def _where_from(truths: Sequence[Row], reached: int) -> str:
    states = Counter(row["status"] for row in truths)
    if states["table"]:
        return f"Accuracies of {plural(reached, 'architecture')} were read from a table."
    words = {"diverged": "diverged, and count as chance"}
    left = [f"{number:,} {words.get(state, state)}" for state, number in states.items() if state != "finished"]
    more = f" ({'; '.join(left)})" if left else ""
    told = f"{reached:,} of {plural(len(truths), 'architecture')} have been trained{more}"
    seeds = sorted({row["seeds"] for row in truths if known(row["accuracy"])})
    return f"{told}, with {' or '.join(map(str, seeds))} seed{'' if seeds == [1] else 's'} each."


def _spread(truths: Sequence[Row], reached: Sequence[float]) -> list[str]:
    """Return what seeds change beside what architectures do: a truth as noisy as that can be ranked by nothing."""
    spreads = finite(truths, "accuracy_std")
    if not spreads or len(reached) < 2:
        return ["How much another seed would change them is not known, and bounds what any score can reach."]
    seeds = percent(sqrt(fmean(spread**2 for spread in spreads)), 2)
    between = percent(stdev(reached), 2)
    return [f"Seeds of one architecture differ by {seeds} points (standard deviation), architectures by {between}."]


def _spent(truths: Sequence[Row]) -> list[str]:
    units = {"seconds": "", "processor_seconds": " of the processor", "image_gradients": " image-gradients"}
    told = [(sum(found), unit, name) for unit, name in units.items() if (found := finite(truths, unit))]
    words = [f"{cost(total, unit)}{name}" for total, unit, name in told]
    return [f"It took {', '.join(words)} in all, the choice of learning rates included."] if words else []


def _rates(truths: Sequence[Row]) -> list[str]:
    chosen = Counter(finite(truths, "learning_rate"))
    if not chosen:
        return []
    lines = [[f"{rate:g}", count(chosen[rate])] for rate in sorted(chosen)]
    return [Sheet(["Learning rate", "Chosen for architectures"], lines).markdown()]


def failure_notes(failures: Sequence[Row], truths: Sequence[Row]) -> str:
    """Return what has no value and why, as a table in which equal reasons share a line; "" where all is well."""
    untrained = [{**row, "proxy": "the truth"} for row in truths if row["status"] == "failed"]
    told = [{**row, "reason": _shortened(row["reason"])} for row in (*untrained, *failures)]
    groups = grouped(told, "proxy", "reason")
    if not groups:
        return ""
    lines = []
    for (proxy, reason), rows in list(groups.items())[:_MOST_GROUPS]:
        names = [str(row["architecture"]) for row in rows[:_FEW]]
        more = f" and {len(rows) - _FEW:,} more" if len(rows) > _FEW else ""
        lines.append([proxy, count(len(rows)), "; ".join(names) + more, reason])
    text = Sheet(["Score", "Failures", "Architectures", "Reason"], lines).markdown()
    hidden = len(groups) - _MOST_GROUPS
    return text + (f"\nAnd {plural(hidden, 'more line')} like these; `scores.parquet` has all.\n" if hidden > 0 else "")


def _shortened(reason: str | None) -> str:
    text = " ".join((reason or "not known").split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def reading_notes(answers: Sequence[Row], within_sets: bool) -> str:
    """Return how to read the tables, as a Markdown list."""
    baseline = baseline_of(answers)
    said = [
        "Spearman's rho and Kendall's tau-b compare the order by a score with that by the true accuracy: 1 is the same "
        "order, 0 none at all. Behind them are 95 % bootstrap intervals over the architectures; they tell what other "
        "architectures of the space might have given, not what other training seeds would have.",
    ]
    if baseline is not None:
        said.append(
            f"Against {baseline}: the score's Spearman minus that of {baseline} on the same architectures, by a paired "
            "bootstrap. Each interval is right 19 times in 20; of many scores some will be wrong, and the best of a "
            "family's readings was chosen on these same architectures."
        )
    if within_sets:
        said.append(
            "Inside a set of the truly best, or of similar size, a score has less to go by, and its correlation is as "
            "a rule much lower: that is where a search has to choose. Sets of a few architectures have wide intervals."
        )
    said += [
        "Regret of the top k: how many points of accuracy the best of the k architectures that the score likes most is "
        "below the best of all; that of k at random is what it has to beat. Ties are broken at random, exactly. "
        "Regrets and budgets are of these very architectures, in hindsight: they have no interval, and luck has a "
        "larger part in them.",
        "Costs are those of one score alone, per architecture. FLOPs count a backward pass as two forward ones. Making "
        "a distilled set is not counted; its card says what it took. Seconds of trainings are those of when and where "
        "they were done: a truth that was found in its folder may be from another machine.",
        "`@30` is the accuracy after 30 steps, or at that sparsity; `calibrated` the same with the statistics of batch "
        "norms estimated anew on real images; `speed` is minus the sum of the training losses.",
    ]
    return "\n".join(f"- {note}" for note in said)
